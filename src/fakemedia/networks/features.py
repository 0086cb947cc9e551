"""Features of pictures by a frozen network, computed once per picture and view, and stored on the disk.

A method that trains only the head (`tune: head`) reads them instead of the pictures: a stage then costs seconds on a
CPU. They are stored as float16, which changes them by one part in 2,000 at most, in
`<folder>/<network>/<task>/<split>/<view>-<recipe>/`, a file for every CHUNK of pictures. Files appear complete or not
at all, so an interrupted extraction resumes where it stopped. Nothing is ever removed: features that do not fit in
`runtime.features_gib` are refused before anything is computed.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from fakemedia.artefacts.files import GIB, write_file
from fakemedia.artefacts.manifest import (
    Manifest,
    Recipe,
    checked,
    make_manifest,
    manifest_path,
    read_manifest,
    write_manifest,
)
from fakemedia.core.errors import UserError
from fakemedia.networks.detector import Detector
from fakemedia.networks.taps import Taps
from fakemedia.networks.views import AUGMENTED, CENTRE, read_views, view_crops, view_seed
from fakemedia.runtime.device import Precision, Runtime
from fakemedia.runtime.modes import evaluating
from fakemedia.store.augmentations.augmentation import augment_version
from fakemedia.store.pixels import PixelStore

VERSION = 2
"""Version of the features: raised when those of a picture change."""
CHUNK = 1024
"""Pictures per file."""
MAX_FLOAT16 = float(np.finfo(np.float16).max)
DEFAULT_ARITHMETIC = ("cpu", "float32")
"""Device and precision that a recipe does not name; it names all others."""

Autocast = Callable[[], AbstractContextManager[Any]]
Values = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Features:
    """The features of a store's pictures in some views."""

    values: Values
    """(views, N, D); not to be changed."""
    labels: NDArray[np.int64]
    """0 real, 1 fake, (N,)."""
    task: str
    views: tuple[str, ...]

    def flat(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the features (views N, D) and labels (views N,) of all views, one view after another."""
        return self.values.reshape(-1, self.values.shape[-1]), np.tile(self.labels, len(self.views))


@torch.inference_mode()
def features(detector: Detector, images: Tensor, taps: Taps | None = None) -> Tensor:
    """Return the features of uint8 images (N, 3, H, W), float32 (N, D) on the detector's device.

    `taps` are the detector's own unless given. Mode and autocast are the caller's.
    """
    device = next(detector.parameters()).device
    return detector.features(detector.prepare(images.to(device, non_blocking=True)), taps).float()


def body_sha256(detector: Detector) -> str:
    """Return the SHA-256 of what the features of `detector` depend on: input, weights of the body, normalisation."""
    front = () if isinstance(detector.front, nn.Identity) else (repr(detector.front),)
    digest = hashlib.sha256(repr((type(detector.body).__name__, detector.blocks, *front)).encode())
    state = {**detector.body.state_dict(), "mean": detector.mean, "std": detector.std}
    for name, tensor in sorted(state.items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def features_recipe(store: PixelStore, view: str, *, weights: str, taps: Taps, crop: int, seed: int,
                    arithmetic: tuple[str, str] = DEFAULT_ARITHMETIC) -> Recipe:
    """Return the recipe of the features of `store` in one view: what they depend on.

    `weights` is the body's SHA-256, `arithmetic` the kind of device and the precision that compute them.
    """
    _, plus, augment = view.partition(AUGMENTED)
    return Recipe(producer="features", version=VERSION, inputs={"weights": weights, "store": store.fingerprint},
                  settings={"taps": taps, "view": view, "crop": crop, "policy": store.policy,
                            "seed": view_seed(view, seed), **({"augment": augment_version(augment)} if plus else {}),
                            **({"arithmetic": arithmetic} if arithmetic != DEFAULT_ARITHMETIC else {})})


@dataclass(frozen=True, kw_only=True)
class FeatureCache:
    """The features of a detector's body, stored in a folder."""

    folder: Path
    detector: Detector | Callable[[], Detector]
    """On the runtime's device, or a function that returns it if features must be computed; then with `weights` and
    `taps`. Its body's weights must not change while the cache is in use."""
    crop: int
    """Side of the square that the network sees, pixels."""
    runtime: Runtime
    seed: int = 0
    """Seed of the random views."""
    batch_size: int = 64
    """Pictures at once."""
    taps: Taps | None = None
    """Other taps than the detector's own."""
    within: Path | None = None
    """The folder whose size `runtime.features_gib` limits; None: `folder`."""
    weights: str | None = None
    """`body_sha256` of the detector, where it is known."""
    progress: bool = True

    def read(self, store: PixelStore, views: Sequence[str] = (CENTRE,)) -> Features:
        """Return the features of all pictures of `store` in `views`, computing what the folder lacks.

        Of several processes each computes its share. A damaged file is computed again. UserError: an unknown view, or
        features that do not fit in `runtime.features_gib` with those that are stored.
        """
        parts = [self._part(store, view) for view in read_views(views)]
        values = self._cached_values(parts, lambda: self._read(parts))
        assert values is not None
        return _features(parts, values)

    def find(self, store: PixelStore, views: Sequence[str] = (CENTRE,)) -> Features | None:
        """Return what `read` returns if the folder holds all of it; None otherwise."""
        parts = [self._part(store, view) for view in read_views(views)]
        if not all(part.folder.exists() for part in parts):
            return None
        values = self._cached_values(parts, lambda: _joined([part.read() for part in parts]))
        return None if values is None else _features(parts, values)

    def _cached_values(self, parts: Sequence[_Part], read: Callable[[], Values | None]) -> Values | None:
        """Return the result of `read`, cached as long as the files of `parts` do not change.

        Only in a single process: several must read together.
        """
        if self.runtime.world > 1:
            return read()
        cache = self.runtime.array_cache
        values = cache.get(_stamps(parts))
        if values is None:
            values = read()
            if values is not None and values.nbytes <= cache.maxsize:
                cache[_stamps(parts)] = values
        return values

    def _read(self, parts: Sequence[_Part]) -> Values | None:
        """Return the values of all `parts`, computing what is missing."""
        chunks = [part.read() for part in parts]
        is_missing = self.runtime.any_of(*(chunk is None for part_chunks in chunks for chunk in part_chunks))
        files = [(part, number) for part, part_chunks in zip(parts, chunks, strict=True)
                 for number in range(len(part_chunks))]
        missing = [file for file, absent in zip(files, is_missing, strict=True) if absent]
        if missing:
            self._check_fits(sum(part.pictures(number) for part, number in missing))
            self._compute(missing)
            chunks = [part.read() for part in parts]
        if self.runtime.rank == 0:
            for part in parts:
                part.finish()
        return _joined(chunks)

    def compute(self, store: PixelStore, views: Sequence[str] = (CENTRE,)) -> Features:
        """Return what `read` returns without storing it, for a few pictures; every process computes all of them."""
        names, rows = read_views(views), np.arange(len(store))
        with self._computing(store, len(names) * len(rows)) as (autocast, bar):
            values = np.stack([self._values(store, rows, view, autocast, bar) for view in names])
        return Features(values=values.astype(np.float32), labels=store.labels, task=store.task, views=names)

    def _part(self, store: PixelStore, view: str) -> _Part:
        recipe = features_recipe(store, view, weights=self._weights, taps=self._taps, crop=self.crop, seed=self.seed,
                                 arithmetic=(self.runtime.device.type, self._precision))
        return _Part(self.folder / self._network / store.task / store.split, recipe, store, view)

    @cached_property
    def _detector(self) -> Detector:
        return self.detector if isinstance(self.detector, Detector) else self.detector()

    @property
    def _taps(self) -> Taps:
        return self.taps or self._detector.taps

    @cached_property
    def _weights(self) -> str:
        return self.weights or body_sha256(self._detector)

    @property
    def _network(self) -> str:
        return f"{self._weights[:12]}-{self._taps}-{self.crop}"

    @cached_property
    def _width(self) -> int:
        """D, measured with one black picture."""
        with evaluating(self._detector):
            return features(self._detector, torch.zeros(1, 3, self.crop, self.crop, dtype=torch.uint8),
                            self._taps).shape[1]

    def _check_fits(self, pictures: int) -> None:
        folder, limit = self.within or self.folder, self.runtime.features_gib
        stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        required = 2 * pictures * self._width
        if stored + required > limit * GIB:
            raise UserError(
                f"The features of {pictures} pictures and views do not fit: they need {required / GIB:.2f} GiB",
                where=folder, expected=f"{limit:.2f} GiB at most, of which {stored / GIB:.2f} are "
                "taken", do="delete folders there that are not needed (one for each network, taps and crop), use fewer "
                "views, or raise runtime.features_gib")

    def _compute(self, missing: list[tuple[_Part, int]]) -> None:
        """Compute and write this process's share of `missing`: parts and numbers of their files."""
        share = missing[self.runtime.rank::self.runtime.world]
        with self._computing(missing[0][0].store, sum(part.pictures(number) for part, number in share)) as (autocast,
                                                                                                          bar):
            for part, number in share:
                part.write(number, self._values(part.store, part.rows(number), part.view, autocast, bar))
        self.runtime.wait()

    @contextmanager
    def _computing(self, store: PixelStore, pictures: int) -> Iterator[tuple[Autocast, tqdm]]:
        with evaluating(self._detector), self.runtime.reproducible(), tqdm(
                total=pictures, unit="img", desc=f"features {store.task} {store.split}",
                disable=None if self.progress else True) as bar:
            yield self.autocast, bar

    def _values(self, store: PixelStore, rows: NDArray[np.int64], view: str, autocast: Autocast,
                bar: tqdm) -> NDArray[np.float16]:
        """Return the features of the images `rows` of `store` in one view, (N, D)."""
        outputs = []
        for start in range(0, len(rows), self.batch_size):
            images = view_crops(store, rows[start:start + self.batch_size], view, self.crop, self.seed)
            with autocast():
                outputs.append(features(self._detector, torch.from_numpy(images).permute(0, 3, 1, 2), self._taps).cpu())
            bar.update(len(images))
        chunk = torch.cat(outputs)
        if not chunk.isfinite().all():
            raise UserError("The network's features are not finite numbers", where=f"{store.task}, {view}",
                            expected="finite numbers", do="use other weights, or runtime.precision: float32")
        return chunk.clamp_(-MAX_FLOAT16, MAX_FLOAT16).half().numpy()

    @property
    def autocast(self) -> Autocast:
        """The context of the forward passes."""
        return nullcontext if self._precision == "float32" else self.runtime.autocast

    @property
    def _precision(self) -> Precision:
        """The runtime's; on a CPU float32, unless bfloat16 is requested explicitly.

        Which of the two is faster there differs between machines, and features must not depend on a timing.
        """
        automatic = self.runtime.device.type == "cpu" and self.runtime.precision == "auto"
        return "float32" if automatic else self.runtime.resolved_precision


@dataclass(frozen=True)
class _Part:
    """The files of one store in one view."""

    parent: Path
    recipe: Recipe
    store: PixelStore
    view: str

    @property
    def folder(self) -> Path:
        return self.parent / f"{self.view}-{self.recipe.fingerprint[:12]}"

    @property
    def names(self) -> list[str]:
        return [f"{number:05d}.npy" for number in range(-(-len(self.store) // CHUNK))]

    @property
    def paths(self) -> list[Path]:
        return [self.folder / name for name in self.names]

    def rows(self, number: int) -> NDArray[np.int64]:
        return np.arange(number * CHUNK, min((number + 1) * CHUNK, len(self.store)))

    def pictures(self, number: int) -> int:
        return len(self.rows(number))

    def read(self) -> list[NDArray[np.float16] | None]:
        """Return the content of each file, (N, D); None for one that is missing or damaged."""
        manifest = read_manifest(self.folder, folder=True)
        return [self._chunk(number, name, manifest) for number, name in enumerate(self.names)]

    def _chunk(self, number: int, name: str, manifest: Manifest | None) -> NDArray[np.float16] | None:
        path = self.folder / name
        try:
            data = path.read_bytes()
            chunk = np.load(io.BytesIO(data if manifest is None else checked(data, manifest, name, path)))
        except (OSError, ValueError, EOFError):  # UserError, of a damaged file, is a ValueError
            return None
        return chunk if len(chunk) == self.pictures(number) else None

    def write(self, number: int, chunk: NDArray[np.float16]) -> None:
        """Write a file; a manifest that describes another one is removed first."""
        manifest_path(self.folder, folder=True).unlink(missing_ok=True)
        buffer = io.BytesIO()
        np.save(buffer, chunk)
        write_file(self.folder / self.names[number], buffer.getvalue())

    def finish(self) -> None:
        """Write the manifest of all files, unless it is there."""
        if read_manifest(self.folder, folder=True) is None:
            files = {name: self.folder / name for name in self.names}
            write_manifest(make_manifest(self.recipe, files), self.folder, folder=True)


def _stamps(parts: Sequence[_Part]) -> tuple[Hashable, ...]:
    """Return a key that changes whenever a file of `parts` is replaced or written to."""
    return tuple((part.folder, *map(_stamp, (manifest_path(part.folder, folder=True), *part.paths))) for part in parts)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _joined(view_chunks: Sequence[Sequence[NDArray[np.float16] | None]]) -> Values | None:
    """Return the values of a store, (views, N, D), from the files of each view; None if one is missing."""
    tensors = [[torch.from_numpy(chunk) for chunk in chunks if chunk is not None] for chunks in view_chunks]
    if any(len(present) < len(chunks) for present, chunks in zip(tensors, view_chunks, strict=True)):
        return None
    values = torch.empty(len(tensors), sum(map(len, tensors[0])), tensors[0][0].shape[1])
    for view_values, chunks in zip(values, tensors, strict=True):
        for target, chunk in zip(view_values.split(CHUNK), chunks, strict=True):
            target.copy_(chunk)  # numpy takes seven times as long to convert float16
    return values.numpy()


def _features(parts: Sequence[_Part], values: Values) -> Features:
    store = parts[0].store
    return Features(values=values, labels=store.labels, task=store.task, views=tuple(part.view for part in parts))
