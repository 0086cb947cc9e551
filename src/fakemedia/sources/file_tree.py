"""Files in a folder, or inside archives, listed and read in the same way, without unpacking."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path, PurePath, PurePosixPath
from typing import IO

from fakemedia.artefacts.addresses import read_file
from fakemedia.artefacts.files import GIB, read_regular, replacing
from fakemedia.core.errors import UserError
from fakemedia.sources.data_folders import RemoteFolder
from fakemedia.sources.split_names import storable
from fakemedia.sources.walking import is_folder, walk

ZIPS, TARS = (".zip",), (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zip")
ARCHIVES = ZIPS + TARS
_KINDS = {".7z": "a 7z archive", ".rar": "a RAR archive", ".zst": "a Zstandard archive",
          ".tzst": "a Zstandard archive", ".gz": "a gzip file", ".bz2": "a bzip2 file", ".xz": "an xz file",
          ".zipx": "a zipx archive"}
"""Archives that are not read, by the ending of their names."""
_SIGNATURES = {b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!": "a RAR archive",
               b"\x28\xb5\x2f\xfd": "a Zstandard archive"}
"""The same by their first bytes."""
MAX_FILE = 2**28
"""Largest file inside an archive that is read, bytes."""
MAX_GROWTH = 20
"""How many times larger than itself a compressed tar may unpack to, beyond the first GiB."""
UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError)


@dataclass(frozen=True)
class Entry:
    """A file: its bytes, the time of its last change (of the archive, for what is in one), and a function that reads
    it, which can be pickled."""

    bytes: int
    mtime_ns: int
    read: Callable[..., bytes]
    """`read(size)` returns the first `size` bytes."""


def is_archive(path: PurePath) -> bool:
    """Return whether the name of `path` is that of an archive that can be read."""
    return path.name.lower().endswith(ARCHIVES)


@dataclass(frozen=True)
class Tree:
    """All files under `root`, which is one archive, or a folder; archives in it are read too, but not at an address.

    The path of a file inside an archive begins with the archive's name without its ending.
    """

    root: Path | str
    """A path, or an address."""

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """The files by POSIX path. UserError: no such folder, or an archive that is damaged or not safe."""
        if isinstance(self.root, str):
            return _remote_entries(self.root)
        if not is_folder(self.root):
            if self.root.is_file():
                return dict(_archive_entries(self.root, self.root.parent))
            raise UserError("The folder or archive of the data does not exist", where=self.root,
                            do="see docs/how-to/own-data.md")
        entries: dict[str, Entry] = {}
        for path in map(Path, walk(self.root)):
            members = _archive_entries(path, self.root) if is_archive(path) else _file_entries(path, self.root)
            for key, entry in members:
                if key in entries:
                    raise UserError(f"Two files of the data have one name, {key}", where=path,
                                    do="rename the archive or the folder beside it")
                entries[key] = entry
        return entries

    @cached_property
    def unread(self) -> dict[str, str]:
        """Archives of kinds that are not read, by path: what they are."""
        kinds = {path: "an archive at an address" if isinstance(self.root, str) and is_archive(PurePosixPath(path)) else
                 _KINDS.get(PurePosixPath(path).suffix.lower()) for path in self.entries}
        return {path: kind for path, kind in kinds.items() if kind}

    def reader(self, path: str, size: int | None = None) -> Callable[[], bytes]:
        """Return a function that reads a file, or its first `size` bytes; OSError if there is none, or then if it
        cannot be read."""
        if path not in self.entries:
            raise FileNotFoundError(2, "No such file", path)
        read = self.entries[path].read
        return partial(_read, read if size is None else partial(read, size=size))


def _read(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except UNREADABLE as error:
        raise OSError(f"{type(error).__name__}: {error}") from None


def _remote_entries(root: str) -> dict[str, Entry]:
    files = RemoteFolder(root).files
    if not files:
        raise UserError("The folder of the data does not exist", where=root,
                        expected="a folder of pictures: archives are read on this machine alone",
                        do="see docs/how-to/own-data.md")
    return {path: Entry(file.bytes, file.mtime_ns, partial(read_file, f"{root.rstrip('/')}/{path}"))
            for path, file in files.items()}


def _file_entries(path: Path, root: Path) -> Iterator[tuple[str, Entry]]:
    try:
        status = path.stat()
    except OSError:
        yield storable(path.relative_to(root).as_posix()), Entry(0, 0, partial(read_regular, path))
        return
    if stat.S_ISREG(status.st_mode):
        entry = Entry(status.st_size, status.st_mtime_ns, partial(read_regular, path))
        yield storable(path.relative_to(root).as_posix()), entry


def _archive_entries(path: Path, root: Path) -> Iterator[tuple[str, Entry]]:
    stem = next((path.name[:-len(ending)] for ending in sorted(ARCHIVES, key=len, reverse=True)
                 if path.name.lower().endswith(ending)), path.stem)
    prefix = path.parent.relative_to(root) / stem
    try:
        members = _zip_members(path) if zipfile.is_zipfile(path) else _tar_members(path)
    except (tarfile.TarError, *UNREADABLE) as error:
        if isinstance(error, UserError):
            raise
        raise _damaged(path, error) from None
    for name, entry in members.items():
        yield storable((prefix / name).as_posix()), entry


def _checked_name(name: str, path: Path, members: dict[str, Entry]) -> str:
    """Return the name of a file in the archive `path`; UserError unless it is safe and new."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    problem = ("is no file" if not parts else
               "leaves the archive's folder" if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] else
               "is listed twice" if name in members else "")
    if problem:
        raise UserError(f"The name {name!r} in the archive {problem}", where=path,
                        expected="plain relative names, each once",
                        do="get the archive from a trusted source, or create it again")
    return name


def _refuse_nested(name: str, path: Path) -> None:
    if name.lower().endswith((*ARCHIVES, ".gz", ".7z", ".rar")):
        raise UserError(f"The archive holds another archive, {name!r}", where=path,
                        do="unpack the outer one, and point root to the folder")


def _zip_members(path: Path) -> dict[str, Entry]:
    mtime_ns = path.stat().st_mtime_ns
    archive = _open_zip(path, mtime_ns)
    files = [info for info in archive.infolist() if not info.filename.endswith(("/", "\\"))]
    if len(files) == 1 and files[0].filename.lower().endswith(TARS):
        return _tar_members(_unpacked(path, lambda: archive.open(files[0])), archive_path=path)
    members: dict[str, Entry] = {}
    for info in files:
        # Some programs write Windows' separators.
        name = _checked_name(info.filename.replace("\\", "/"), path, members)
        _refuse_nested(name, path)
        if info.flag_bits & 1:
            raise UserError(f"The archive is encrypted ({name!r})", where=path, do="unpack it, and point root there")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise UserError(f"The archive holds a link, {name!r}", where=path, expected="files and folders only")
        members[name] = Entry(info.file_size, mtime_ns, partial(_read_from_zip, path, mtime_ns, info))
    return members


@lru_cache(maxsize=32)
def _open_zip(path: Path, mtime_ns: int) -> zipfile.ZipFile:
    """Return a zip, kept open in this process among the last ones used; another `mtime_ns` is another zip."""
    return zipfile.ZipFile(path)


def _read_from_zip(path: Path, mtime_ns: int, info: zipfile.ZipInfo, size: int = MAX_FILE + 1) -> bytes:
    with _open_zip(path, mtime_ns).open(info) as file:
        data = file.read(size)
    if len(data) > MAX_FILE:
        raise OSError(f"{info.filename} is larger than {MAX_FILE} bytes")
    return data


def _tar_members(path: Path, archive_path: Path | None = None) -> dict[str, Entry]:
    """Return the files of a tar with the offsets of their bytes; a compressed tar is first unpacked to a hidden one."""
    original = archive_path or path
    plain = path
    if not tarfile.is_tarfile(path):
        kind = next((kind for signature, kind in _SIGNATURES.items()
                     if read_regular(path, 8).startswith(signature)), None)
        raise UserError(f"The file is {kind}" if kind else "The archive is damaged, or none", where=original,
                        expected=f"an archive of the kinds {', '.join(ARCHIVES)}",
                        do="unpack it, and point root to the folder" if kind else "download it again")
    try:
        tarfile.open(path, "r:").close()
    except tarfile.ReadError:
        plain = _unpacked(path, lambda: _decompressed(path))
    mtime_ns = original.stat().st_mtime_ns
    members: dict[str, Entry] = {}
    with tarfile.open(plain, "r:") as archive:
        for info in archive:
            if info.isdir():
                continue
            name = _checked_name(info.name, original, members)
            if not info.isreg() or info.issparse():
                raise UserError(f"The archive holds a link or device, {name!r}", where=original,
                                expected="files and folders alone")
            _refuse_nested(name, original)
            members[name] = Entry(info.size, mtime_ns, partial(_read_from_tar, plain, info.offset_data, info.size))
    return members


def _read_from_tar(path: Path, offset: int, length: int, size: int = MAX_FILE + 1) -> bytes:
    if min(length, size) > MAX_FILE:
        raise OSError(f"larger than {MAX_FILE} bytes")
    with path.open("rb", buffering=0) as file:
        data = os.pread(file.fileno(), min(length, size), offset)
    if len(data) != min(length, size):
        raise OSError("the archive ends within the file")
    return data


def _decompressed(path: Path) -> IO[bytes]:
    import bz2
    import gzip
    import lzma

    openers = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
    with path.open("rb") as file:
        return openers[file.read(2)](path, "rb")  # type: ignore[return-value]


def _unpacked(path: Path, opener: Callable[[], IO[bytes]]) -> Path:
    """Return the plain tar inside `path`, written once as a hidden file beside it."""
    plain = path.with_name(f".{path.name}.plain.tar")
    if plain.exists() and plain.stat().st_mtime_ns == path.stat().st_mtime_ns:
        return plain
    with closing(opener()) as stream, replacing(plain) as scratch:
        with scratch.open("wb") as file:
            for block in _blocks(stream, path):
                file.write(block)
        shutil.copystat(path, scratch)
    return plain


def _blocks(stream: IO[bytes], path: Path) -> Iterator[bytes]:
    """Yield the unpacked bytes of `stream`, from the archive `path`; UserError if it is damaged or grows too much."""
    remaining = GIB + MAX_GROWTH * path.stat().st_size
    while block := _block(stream, path):
        remaining -= len(block)
        if remaining < 0:
            raise UserError(f"The archive unpacks to more than {MAX_GROWTH} times its size", where=path,
                            expected="an archive of images", do="unpack it by hand if you trust it")
        yield block


def _block(stream: IO[bytes], path: Path) -> bytes:
    try:
        return stream.read(2**20)
    except UNREADABLE as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: BaseException) -> UserError:
    return UserError(f"The archive cannot be read ({error})", where=path, do="download it again")
