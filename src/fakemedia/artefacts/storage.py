"""Results at an address, such as a bucket; the project's folder is a cache of them.

An artefact has the same path below the address as below the project's folder. Its manifest is written last and removed
first, so an incomplete artefact does not count; fetched files are compared with it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

from fakemedia.artefacts.addresses import TIMEOUT, answered, is_address, open_address, put_files, reaching
from fakemedia.artefacts.cache import REDUCED, Cache, is_large, is_reduced
from fakemedia.artefacts.files import GIB, scratch_folder, write_file, writing
from fakemedia.artefacts.manifest import (
    FILE_MANIFESTS,
    FOLDER_MANIFEST,
    Manifest,
    manifest_path,
    parse_manifest,
    verify,
)
from fakemedia.core.errors import UserError

NONE = "none"
LEDGER = "data/.storage"
"""The folder, in the project, for the records of its cache."""
STATE = ".resume.pt"
"""The ending of the file that is written last beside a folder: it names the others."""


@dataclass(frozen=True, kw_only=True)
class StorageConfig:
    """Where results are stored, beside the project's folder."""

    address: str = NONE
    """`none`: in the project's folder alone; or an address that the results are written to, and fetched from where the
    folder lacks them, such as `s3://bucket/prefix` (extra `storage`), or another that fsspec knows."""
    cache_gib: float | None = None
    """Largest size of pixels and weights that the folder holds, GiB; those used longest ago are removed if they are at
    the address. What a command works on stays. None: no limit."""

    def __post_init__(self) -> None:
        if self.address != NONE and not is_address(self.address):
            raise ValueError("address must be none, or an address such as s3://bucket/prefix")
        if self.cache_gib is not None and self.cache_gib < 0:
            raise ValueError("cache_gib must not be negative")


class Storage:
    """The results of the project in the folder `root`, at an address."""

    def __init__(self, config: StorageConfig, root: Path) -> None:
        self._config, self._root = config, root
        self.address = config.address if config.address.endswith("://") else config.address.rstrip("/")
        limit = float("inf") if config.cache_gib is None else config.cache_gib * GIB
        self._cache = Cache(root / LEDGER, root, limit)
        self._records: dict[str, bytes | None] = {}
        self._stale: set[str] = set()
        self._sent: dict[Path, tuple[int, int]] = {}
        self._listed = False

    def __reduce__(self) -> tuple[type[Storage], tuple[StorageConfig, Path]]:
        return Storage, (self._config, self._root)

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        return open_address(self.address)

    @property
    def _files(self) -> Any:
        """The file system of the address."""
        return self._opened[0]

    def check(self) -> None:
        """Raise UserError unless a small file can be written, listed, read and deleted at the address in time."""
        path = self._root / f".probe-{secrets.token_hex(8)}"
        with reaching(self._url(path)):
            answered(partial(self._probe, self._key(path), path.name.encode()), TIMEOUT)

    def _probe(self, key: str, data: bytes) -> None:
        self._files.pipe_file(key, data)
        if key not in self._files.ls(self._opened[1], detail=False) or self._files.cat_file(key) != data:
            raise OSError("what was written is not there")
        self._files.rm_file(key)

    def read_all_manifests(self) -> None:
        """Read all manifests concurrently, which takes less time than one after another."""
        with reaching(self.address):
            keys = [key for key in self._files.find(self._opened[1]) if _is_record(key)]
            records = self._files.cat(keys, on_error="return") if keys else {}
            for error in records.values():
                if isinstance(error, Exception) and not isinstance(error, FileNotFoundError):
                    raise error
        self._records = {key: None if isinstance(data, Exception) else data for key, data in records.items()}
        self._listed = True

    def folders(self) -> list[Path]:
        """Return the paths in the project of all folders that are complete at the address."""
        if not self._listed:
            self.read_all_manifests()
        base = self._opened[1]
        return [self._root / PurePosixPath(key).relative_to(base).parent for key, data in self._records.items()
                if data is not None and key.endswith(f"/{FOLDER_MANIFEST}")]

    def manifest(self, artefact: Path, *, folder: bool) -> Manifest | None:
        """Return the manifest of `artefact` at the address; None if it is not there, or not complete."""
        data = self._record(self._key(manifest_path(artefact, folder=folder)))
        return None if data is None else parse_manifest(data)

    def forget(self, artefact: Path, *, folder: bool) -> None:
        """Discard the cached manifest of `artefact`: another process has written it."""
        key = self._key(manifest_path(artefact, folder=folder))
        self._records.pop(key, None)
        self._stale.add(key)

    def upload(self, artefact: Path, *, folder: bool) -> None:
        """Write `artefact`, which is complete here, to the address, unless it is there already.

        The files beside a folder whose names begin with its own are uploaded with it. UserError if that fails; the
        artefact then counts as missing at the address until it is uploaded again.
        """
        if folder and is_reduced(artefact):
            return
        record = manifest_path(artefact, folder=folder)
        key, data = self._key(record), record.read_bytes()
        if self._record(key) != data:
            with reaching(self._url(artefact)):
                self._send(artefact, record, data, folder=folder)
        if folder:
            self.upload_beside(artefact)
            self._cache.use(artefact)
            self._cache.evict(self._is_whole)

    def _send(self, artefact: Path, record: Path, data: bytes, *, folder: bool) -> None:
        key, previous_data = self._key(record), self._record(self._key(record))
        if previous_data is not None:
            self._files.rm_file(key)
        self._records[key] = None
        manifest = parse_manifest(data)
        if manifest is None:
            return
        if folder:
            files = list(_within(artefact))
            old_keys = set(self._files.find(self._key(artefact))) - {key}
        else:
            files = [artefact.parent / name for name in manifest.files]
            previous = None if previous_data is None else parse_manifest(previous_data)
            old_keys = {self._key(artefact.parent / name) for name in (previous.files if previous else ())}
        inner_manifests = [path for path in files if _is_record(path.as_posix())]
        self._put([path for path in files if path not in inner_manifests])
        self._delete(old_keys - set(map(self._key, files)))
        self._put([path for path in inner_manifests if path != record])
        self._put([record])
        self._records[key] = data

    def fetch(self, artefact: Path, *, folder: bool, light: bool = False) -> bool:
        """Fetch the missing files of `artefact`, if it is at the address; return whether it is.

        `light`: without the large files of a folder, pixels and weights. UserError if the address cannot be reached, or
        the files there are damaged.
        """
        data = self._record(self._key(manifest_path(artefact, folder=folder)))
        manifest = None if data is None else parse_manifest(data)
        if data is None or manifest is None:
            return False
        with self._cache.fetching(artefact):
            self._fetch(artefact, data, manifest, folder=folder, light=light)
        return True

    def _fetch(self, artefact: Path, data: bytes, manifest: Manifest, *, folder: bool, light: bool) -> None:
        record = manifest_path(artefact, folder=folder)
        with reaching(self._url(artefact)):
            sizes = self._sizes(artefact) if folder else {artefact.parent / name: size for name, (size, _) in
                                                          manifest.files.items()}
            requested = {path: size for path, size in sizes.items()
                         if path != record and not (light and is_large(path))}
            written_ns = record.stat().st_mtime_ns if _is_here(record, data) else 0
            missing = {path: size for path, size in requested.items() if not _is_as_written(path, size, written_ns)}
            if missing:
                self._cache.evict(self._is_whole, room=sum(size for path, size in missing.items() if is_large(path)))
                self._get(artefact, missing, manifest, folder=folder)
                write_file(record, data)
        if folder:
            if all(path.exists() for path in sizes):
                (artefact / REDUCED).unlink(missing_ok=True)
            else:
                (artefact / REDUCED).touch()
            self.fetch_beside(artefact)
            self._cache.use(artefact)

    def _get(self, artefact: Path, missing: Mapping[Path, int], manifest: Manifest, *, folder: bool) -> None:
        """Fetch files of `artefact`, verify those that its manifest names, and move them to their paths."""
        base, record = (artefact if folder else artefact.parent), manifest_path(artefact, folder=folder)
        with writing(artefact), scratch_folder(artefact) as building:
            names = {path: path.relative_to(base).as_posix() for path in missing}
            self._files.get([self._key(path) for path in missing], [str(building / name) for name in names.values()])
            try:
                inside = building / artefact.name if not folder else building
                verify(inside, manifest, folder=folder, names=[name for name in names.values()
                                                               if name in manifest.files])
                if any((building / names[path]).stat().st_size != size for path, size in missing.items()):
                    raise OSError("a file changed while it was read")
            except (UserError, OSError) as error:
                self._delete([self._key(record)])
                self._records[self._key(record)] = None
                raise UserError("A result at the address is damaged, or was changed while it was read",
                                where=self._url(artefact), expected="the files as they were written",
                                do="run again: it counts as missing from now on") from error
            record.unlink(missing_ok=True)
            for path, name in sorted(names.items(), key=lambda item: _is_record(item[1])):
                path.parent.mkdir(parents=True, exist_ok=True)
                os.replace(building / name, path)

    def upload_beside(self, folder: Path) -> None:
        """Mirror at the address the files beside `folder` whose names begin with its own, such as the training state.

        The state is written last. UserError if that fails.
        """
        local = sorted(folder.parent.glob(f"{folder.name}.*"), key=lambda path: path.name.endswith(STATE))
        with reaching(self._url(folder)):
            for path in local:
                status = path.stat()
                if self._sent.get(path) != (status.st_mtime_ns, status.st_size):
                    self._put([path])
                    self._sent[path] = (status.st_mtime_ns, status.st_size)
            self._delete(set(self._beside(folder)) - set(map(self._key, local)))

    def fetch_beside(self, folder: Path) -> None:
        """Fetch the files beside `folder` that are missing here or older than at the address; UserError if that fails.
        """
        with reaching(self._url(folder)):
            keys = sorted(self._beside(folder), key=lambda key: key.endswith(STATE))
            for key in keys:
                path = folder.parent / PurePosixPath(key).name
                if not path.exists() or self._files.modified(key).timestamp() > path.stat().st_mtime:
                    write_file(path, self._files.cat_file(key))
                    status = path.stat()
                    self._sent[path] = (status.st_mtime_ns, status.st_size)

    def upload_tree(self, folder: Path) -> None:
        """Write all files below `folder`, which never change, to the address; UserError if that fails."""
        self.upload_files(list(_within(folder)), of=folder)

    def upload_files(self, paths: list[Path], *, of: Path) -> None:
        """Write files without a manifest, those `of` a folder or file, to the address; UserError if that fails."""
        with reaching(self._url(of)):
            self._put(paths)

    def fetch_tree(self, folder: Path) -> None:
        """Fetch the files below `folder` that are missing here; UserError if that fails."""
        with reaching(self._url(folder)):
            missing = [path for path in self._sizes(folder) if not path.exists()]
            for path in missing:
                write_file(path, self._files.cat_file(self._key(path)))

    def hold(self, folder: Path) -> None:
        """Protect the large files of `folder` from eviction as long as this process runs."""
        self._cache.use(folder, hold=True)

    def _is_whole(self, folder: Path) -> bool:
        """Return whether all files of `folder` are at the address, with their sizes."""
        record = manifest_path(folder, folder=True)
        self.forget(folder, folder=True)
        with reaching(self._url(folder)):
            stored_sizes = self._sizes(folder)
        return _is_here(record, self._record(self._key(record))) and all(
            stored_sizes.get(path) == path.stat().st_size for path in _within(folder))

    def _sizes(self, folder: Path) -> dict[Path, int]:
        base = self._opened[1]
        return {self._root / PurePosixPath(key).relative_to(base): facts["size"]
                for key, facts in self._files.find(self._key(folder), detail=True).items()}

    def _beside(self, folder: Path) -> list[str]:
        start = f"{self._key(folder)}."
        keys = self._files.find(self._key(folder.parent))  # With a depth, errors would be left out.
        return [key for key in keys if key.startswith(start) and "/" not in key.removeprefix(start)]

    def _record(self, key: str) -> bytes | None:
        if key not in self._records:
            data = None
            if not self._listed or key in self._stale:
                with reaching(f"{self.address}{key.removeprefix(self._opened[1])}"):
                    try:
                        data = self._files.cat_file(key)
                    except FileNotFoundError:
                        data = None
            self._records[key] = data
        return self._records[key]

    def _put(self, paths: list[Path]) -> None:
        if paths:
            put_files(self._files, paths, list(map(self._key, paths)))

    def _delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._files.rm_file(key)

    def _key(self, path: Path) -> str:
        return f"{self._opened[1]}/{self._relative(path)}"

    def _url(self, path: Path) -> str:
        return f"{self.address}/{self._relative(path)}"

    def _relative(self, path: Path) -> str:
        if not path.is_relative_to(self._root):
            raise UserError("A result outside the project's folder cannot be stored at an address", where=path,
                            expected=f"a path in {self._root}", do="correct its filepath in the catalog")
        return path.relative_to(self._root).as_posix()


def _within(folder: Path) -> Iterable[Path]:
    """Yield the files of an artefact's folder, with the manifests of files in it, but no hidden files."""
    return (path for path in folder.rglob("*") if not path.name.startswith(".") and path.is_file())


def _is_record(key: str) -> bool:
    path = PurePosixPath(key)
    return path.name == FOLDER_MANIFEST or path.parent.name == FILE_MANIFESTS


def _is_here(record: Path, data: bytes | None) -> bool:
    try:
        return record.read_bytes() == data
    except OSError:
        return False


def _is_as_written(path: Path, size: int, written_ns: int) -> bool:
    """Return whether a file has its size, and was not changed since the time `written_ns`, nanoseconds."""
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_size == size and status.st_mtime_ns <= written_ns
