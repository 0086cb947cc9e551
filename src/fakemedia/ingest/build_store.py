"""Building pixel stores from an index."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from fakemedia.artefacts.files import move_away, moved, remove_leftovers, scratch_folder, sync
from fakemedia.artefacts.manifest import FOLDER_MANIFEST, Recipe, is_current, make_manifest, write_manifest
from fakemedia.core.errors import UserError
from fakemedia.ingest.facts import measure
from fakemedia.ingest.index import check_readable, index_fingerprint
from fakemedia.ingest.parts import Table, indexed
from fakemedia.ingest.process_pool import picture_map
from fakemedia.sources.source import Source
from fakemedia.store import decode, policies
from fakemedia.store.decoders import decoder_versions, merged
from fakemedia.store.images import IMAGES, LOCATION_COLUMNS, PIXELS, Facts, write_images
from fakemedia.store.pixels import Files, PixelStore, not_as_indexed
from fakemedia.store.policies import NATIVE, policy_function, stored_size
from fakemedia.store.pool import DecodedPictures, PixelWriter, Room, open_decoded, share_file

VERSION = 1
"""Version of a store's content, beside those of decoding and of the policies: raised when it changes."""
NEEDED = ("id", "path", "task", "split", "label", "source", "codec", "height", "width", "error")
"""The columns of an index that a store is built from."""


def store_recipe(images: str, *, policy: str = NATIVE, stream: bool = False) -> Recipe:
    """Return what a store is made from: `images` is the `index_fingerprint` of its split."""
    settings = {"policy": policy, "stream": stream, "decode": decode.VERSION, "policies": policies.VERSION}
    return Recipe(producer="pixels", version=VERSION, settings=settings, inputs={"images": images})


def store_fingerprint(index: Table, split: str, policy: str = NATIVE) -> str:
    """Return the fingerprint that a store of `split` built from `index` has; the same whether it streams or not."""
    return store_recipe(index_fingerprint(index, split), policy=policy).fingerprint


def image_files(table: Table, source: Source) -> Files:
    """Return the current paths of the image files of an index, for a streaming store."""
    return Files(source, {id: path for frame in indexed(table).frames(["id", "path"])
                          for id, path in zip(frame["id"], frame["path"], strict=True)})


def _rows_of(table: Table, split: str) -> pd.DataFrame:
    """Return what a store needs of the images of `split`."""
    return pd.concat([frame.loc[frame["split"] == split] for frame in indexed(table).frames(NEEDED)],
                     ignore_index=True)


def build_store(index: Table, source: Source, split: str, folder: str | Path, *, policy: str = NATIVE,
                pool: Path | None = None, room: Room | None = None, stream: bool = False, workers: int,
                progress: bool = True) -> PixelStore:
    """Write the images of `split` to a store in `folder`, replacing another store there; return it.

    Pictures that the previous store, or the `pool` of the index, contains are not decoded again; the others are, in
    `workers` processes. The store is built in a folder beside `folder` and moved there when complete; of several
    processes that build the same store at once, the first to finish wins. With `stream` the store holds no pixels.
    `room` bounds the bytes of pixels that are written.

    UserError: an unknown policy, an empty split, an unreadable image, a file that changed since it was indexed, too
    little room, or a `folder` with other content.
    """
    folder = Path(folder)
    policy_function(policy)
    rows = _rows_of(index, split)
    if rows.empty:
        raise UserError(f"The {split} split is empty", where=folder, expected="at least one image")
    check_readable(rows)
    if _holds_something_else(folder):
        raise UserError("The folder for a pixel store has other content", where=folder, expected="a new folder")
    recipe = store_recipe(index_fingerprint(index, split), policy=policy, stream=stream)
    content = store_fingerprint(index, split, policy)
    with scratch_folder(folder) as building:
        decoder = decoder_versions(rows["codec"])
        if stream:
            images, size = _streamed(rows, policy), 0
        else:
            donors = [donor for candidate in (folder, pool)
                      if candidate and (donor := open_decoded(candidate, policy, fresh=candidate == pool))]
            locations, size = _fill(building / PIXELS, rows, source, donors, policy=policy, room=room or Room(),
                                    workers=workers, progress=progress)
            images = _with_locations(rows, locations)
            decoder = merged([decoder, *({name: donor.decoder[name] for name in decoder if name in donor.decoder}
                                         for donor in donors if not donor.locations.keys().isdisjoint(locations))])
        facts = Facts(policy=policy, bytes=size, task=str(rows["task"].iloc[0]), split=split, images=len(rows),
                      streams=stream, decoder=decoder, faces=getattr(source, "detector", ""))
        write_images(images, facts, building)
        manifest = make_manifest(recipe, {IMAGES: building / IMAGES}, content=content)
        write_manifest(manifest, building, folder=True)
        sync(building)
        while not moved(building, folder):
            if _is_store(folder, recipe):
                break
            move_away(folder)
        sync(folder.parent)
    return PixelStore.open(folder, image_files(rows, source) if stream else None)


def ensure_store(index: Table, source: Source, split: str, folder: str | Path, *, policy: str = NATIVE,
                 pool: Path | None = None, room: Room | None = None, stream: bool = False, workers: int,
                 progress: bool = True) -> PixelStore:
    """Return the store in `folder` if it is the one that `build_store` would build; build it otherwise."""
    if _is_store(Path(folder), store_recipe(index_fingerprint(index, split), policy=policy, stream=stream)):
        remove_leftovers(Path(folder).parent)
        return PixelStore.open(folder, image_files(index, source) if stream else None)
    return build_store(index, source, split, folder, policy=policy, pool=pool, room=room, stream=stream,
                       workers=workers, progress=progress)


def _fill(path: Path, rows: pd.DataFrame, source: Source, donors: list[DecodedPictures], *, policy: str, room: Room,
          workers: int, progress: bool) -> tuple[dict[str, tuple], int]:
    """Make the pixel file `path`: a donor's file that has all pictures, or a new one; return the locations."""
    paths = dict(zip(rows["id"], rows["path"], strict=True))
    for donor in donors:
        available = {id: donor.locations[id] for id in paths if id in donor.locations}
        needed = sum(3 * height * width for _, height, width, _ in available.values())
        size = donor.path.stat().st_size
        if len(available) == len(paths) and 2 * needed >= size and donor.holds(paths):
            share_file(donor.path, path)
            return available, size
    name = f"{rows['task'].iloc[0]} {rows['split'].iloc[0]}"
    with PixelWriter(path, room) as writer:
        for donor in donors:
            for id in tqdm([id for id in paths if id in donor.locations], desc=f"copy {name}", unit="image",
                           disable=None if progress else True):
                if (pixels := donor.read(id)) is not None:
                    writer.write(id, pixels, donor.locations[id][-1])
        missing = [id for id in paths if id not in writer.locations]
        measured = picture_map(partial(measure, policy=policy), [source.reader(paths[id]) for id in missing],
                               workers=workers, title=f"decode {name}", progress=progress)
        for id, ((facts, check), pixels) in zip(missing, measured, strict=True):
            if pixels is None or facts["id"] != id:
                raise not_as_indexed(paths[id], facts["error"])
            writer.write(id, pixels, check)
    return writer.locations, writer.bytes


def _with_locations(rows: pd.DataFrame, locations: dict[str, tuple]) -> pd.DataFrame:
    location_table = pd.DataFrame([locations[id] for id in rows["id"]], columns=list(LOCATION_COLUMNS[1:]))
    return pd.concat([rows[["id", "label", "source"]].reset_index(drop=True), location_table], axis=1)


def _streamed(rows: pd.DataFrame, policy: str) -> pd.DataFrame:
    sizes = [stored_size(policy, height, width) for height, width in zip(rows["height"], rows["width"], strict=True)]
    return rows[["id", "label", "source"]].assign(
        offset=0, height=[height for height, _ in sizes], width=[width for _, width in sizes], checksum="")


def _holds_something_else(folder: Path) -> bool:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return True
    return bool(names) and not {FOLDER_MANIFEST, IMAGES} & set(names)


def _is_store(folder: Path, recipe: Recipe) -> bool:
    return is_current(folder, recipe, folder=True) and is_intact(folder)


def is_intact(folder: Path) -> bool:
    """Return whether `folder` holds a complete pixel store, as it was written."""
    try:
        return PixelStore.open(folder).is_intact()
    except UserError:
        return False
