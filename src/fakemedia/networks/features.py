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
LARGEST = float(np.finfo(np.float16).max)
USUAL = ("cpu", "float32")
"""Device and arithmetic that a recipe does not name; those of any other do."""

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
                    arithmetic: tuple[str, str] = USUAL) -> Recipe:
    """Return what the features of `store` in one view depend on.

    `weights` is the body's SHA-256, `arithmetic` the kind of device and the precision that compute them.
    """
    _, plus, augment = view.partition(AUGMENTED)
    return Recipe(producer="features", version=VERSION, inputs={"weights": weights, "store": store.fingerprint},
                  settings={"taps": taps, "view": view, "crop": crop, "policy": store.policy,
                            "seed": view_seed(view, seed), **({"augment": augment_version(augment)} if plus else {}),
                            **({"arithmetic": arithmetic} if arithmetic != USUAL else {})})


@dataclass(frozen=True, kw_only=True)
class FeatureCache:
    """The features of a detector's body, stored in a folder."""

    folder: Path
    detector: Detector | Callable[[], Detector]
    """On the runtime's device, or what returns it if features must be computed; `weights` and `taps` are then given.
    Its body's weights must not change while the cache is in use."""
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
        values = self._held(parts, lambda: self._read(parts))
        assert values is not None
        return _features(parts, values)

    def find(self, store: PixelStore, views: Sequence[str] = (CENTRE,)) -> Features | None:
        """Return what `read` returns if the folder holds all of it; None otherwise."""
        parts = [self._part(store, view) for view in read_views(views)]
        if not all(part.folder.exists() for part in parts):
            return None
        values = self._held(parts, lambda: _joined([part.read() for part in parts]))
        return None if values is None else _features(parts, values)

    def _held(self, parts: Sequence[_Part], read: Callable[[], Values | None]) -> Values | None:
        """Return what `read` returns, or returned before while the files of `parts` were the same ones.

        Only a single process holds it: several must read together.
        """
        if self.runtime.world > 1:
            return read()
        held = self.runtime.held
        values = held.get(_stamps(parts))
        if values is None:
            values = read()
            if values is not None and values.nbytes <= held.maxsize:
                held[_stamps(parts)] = values
        return values

    def _read(self, parts: Sequence[_Part]) -> Values | None:
        """Return the values of all `parts`, computing what is missing."""
        kept = [part.read() for part in parts]
        lacking = self.runtime.any_of(*(chunk is None for chunks in kept for chunk in chunks))
        files = [(part, number) for part, chunks in zip(parts, kept, strict=True) for number in range(len(chunks))]
        missing = [each for each, lacks in zip(files, lacking, strict=True) if lacks]
        if missing:
            self._check_fits(sum(part.pictures(number) for part, number in missing))
            self._compute(missing)
            kept = [part.read() for part in parts]
        if self.runtime.rank == 0:
            for part in parts:
                part.finish()
        return _joined(kept)

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
        """D, found with one black picture."""
        with evaluating(self._detector):
            return features(self._detector, torch.zeros(1, 3, self.crop, self.crop, dtype=torch.uint8),
                            self._taps).shape[1]

    def _check_fits(self, pictures: int) -> None:
        place, limit = self.within or self.folder, self.runtime.features_gib
        held = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        needed = 2 * pictures * self._width
        if held + needed > limit * GIB:
            raise UserError(
                f"The features of {pictures} pictures and views do not fit: they need {needed / GIB:.2f} GiB",
                where=place, expected=f"{limit:.2f} GiB at most, of which {held / GIB:.2f} are "
                "taken", do="delete folders there that are not needed (one for each network, taps and crop), use fewer "
                "views, or raise runtime.features_gib")

    def _compute(self, missing: list[tuple[_Part, int]]) -> None:
        """Compute and write this process's share of `missing`: parts and numbers of their files."""
        mine = missing[self.runtime.rank::self.runtime.world]
        with self._computing(missing[0][0].store, sum(part.pictures(number) for part, number in mine)) as (autocast,
                                                                                                          bar):
            for part, number in mine:
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
        found = []
        for start in range(0, len(rows), self.batch_size):
            images = view_crops(store, rows[start:start + self.batch_size], view, self.crop, self.seed)
            with autocast():
                found.append(features(self._detector, torch.from_numpy(images).permute(0, 3, 1, 2), self._taps).cpu())
            bar.update(len(images))
        chunk = torch.cat(found)
        if not chunk.isfinite().all():
            raise UserError("The network's features are not finite numbers", where=f"{store.task}, {view}",
                            expected="finite numbers", do="use other weights, or runtime.precision: float32")
        return chunk.clamp_(-LARGEST, LARGEST).half().numpy()

    @property
    def autocast(self) -> Autocast:
        """The context of the forward passes."""
        return nullcontext if self._precision == "float32" else self.runtime.autocast

    @property
    def _precision(self) -> Precision:
        """The runtime's; on a CPU float32, unless bfloat16 is asked for by name.

        Which of the two is faster there differs between machines, and features must not depend on a timing.
        """
        automatic = self.runtime.device.type == "cpu" and self.runtime.precision == "auto"
        return "float32" if automatic else self.runtime.resolved_precision


@dataclass(frozen=True)
class _Part:
    """The files of one store in one view."""

    place: Path
    recipe: Recipe
    store: PixelStore
    view: str

    @property
    def folder(self) -> Path:
        return self.place / f"{self.view}-{self.recipe.fingerprint[:12]}"

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
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _joined(kept: Sequence[Sequence[NDArray[np.float16] | None]]) -> Values | None:
    """Return the values of a store, (views, N, D), from the files of each view; None if one is missing."""
    found = [[torch.from_numpy(chunk) for chunk in chunks if chunk is not None] for chunks in kept]
    if any(len(own) < len(chunks) for own, chunks in zip(found, kept, strict=True)):
        return None
    values = torch.empty(len(found), sum(map(len, found[0])), found[0][0].shape[1])
    for of_view, chunks in zip(values, found, strict=True):
        for place, chunk in zip(of_view.split(CHUNK), chunks, strict=True):
            place.copy_(chunk)  # numpy takes seven times as long to convert float16
    return values.numpy()


def _features(parts: Sequence[_Part], values: Values) -> Features:
    store = parts[0].store
    return Features(values=values, labels=store.labels, task=store.task, views=tuple(part.view for part in parts))
