"""Short names of the checkpoints of a project: sequence/label[/seed][/stage]."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fakemedia.artefacts.cache import is_reduced
from fakemedia.artefacts.manifest import read_manifest
from fakemedia.catalog.names import CHECKPOINT, SCORES
from fakemedia.context.context import Context
from fakemedia.core.errors import UserError, unknown_name

if TYPE_CHECKING:
    import pandas as pd

    from fakemedia.scoring.model_card import CardInfo

HANDLE_PARTS = ("sequence", "label", "seed", "stage")
HANDLE = re.compile(r"(?P<sequence>\w+)/(?P<label>\w+)(/(seed)?(?P<seed>\d+))?(/(?P<stage>\d+_[\w-]+))?/?")


def find_checkpoint(name: str, context: Context | None) -> Path:
    """Return the path `name`, if it exists, or that of the checkpoint with this handle.

    A handle is `sequence/label`, the last stage of the first seed, or has a seed (`1` or `seed1`) and a stage
    (`02_biggan`) too. UserError, with the existing names, if there is no such checkpoint.
    """
    path, handle = Path(name), HANDLE.fullmatch(name)
    if path.exists():
        return path
    if handle is None or context is None:
        raise UserError("There is no checkpoint", where=name, expected="a checkpoint folder, an .onnx file, or, in a "
                        "project, sequence/label[/seed][/stage] such as demo/kd")
    folders = _checkpoint_folders(context)
    keys, sequence = list(folders), handle["sequence"]
    if sequence in context.sequences and all(key[0] != sequence for key in keys):
        raise UserError(f"Nothing of the sequence {sequence!r} has been trained yet", where=name,
                        do=f"kedro run --pipelines {sequence}")
    for position, part in enumerate(HANDLE_PARTS):
        names = sorted({key[position] for key in keys})
        chosen = handle[part] or (min(names, key=int) if part == "seed" else _last(context, sequence, names))
        if chosen not in names:
            raise unknown_name(f"{part} of a checkpoint", chosen, names, where=name)
        keys = [key for key in keys if key[position] == chosen]
    fetch_missing(context, folders[keys[0]])
    return folders[keys[0]]


def fetch_missing(context: Context, folder: Path) -> None:
    """Fetch the missing files of a folder from the project's storage, if there is one; UserError if that fails."""
    if context.storage is not None and (read_manifest(folder, folder=True) is None or is_reduced(folder)):
        context.storage.fetch(folder, folder=True)


def card_info(checkpoint: Path, context: Context | None, licence: str) -> CardInfo:
    """Return the card information of a checkpoint folder: for one of the project its handle, scores and families.

    Scores of other weights are left out. UserError if their file is damaged.
    """
    from fakemedia.scoring.model_card import CardInfo

    handles = {path.resolve(): handles for handles, path in _checkpoint_folders(context).items()} if context else {}
    key = handles.get(checkpoint.resolve())
    if context is None or key is None:
        return CardInfo(name=checkpoint.resolve().name, licence=licence)
    sequence, label, seed, stage = key
    families = context.families(context.plan(sequence).collection) if sequence in context.sequences else {}
    path = context.path(SCORES, sequence=sequence, label=label, seed=seed, stage=stage)
    if context.storage is not None and not path.exists():
        context.storage.fetch(path, folder=False)
    return CardInfo(name=f"{sequence}/{label}/seed{seed}/{stage}", families=families, licence=licence,
                    scores=_scores(checkpoint, path))


def _scores(checkpoint: Path, path: Path) -> pd.DataFrame | None:
    """Return the test scores in the file `path`; None if there are none, or they are not of this checkpoint."""
    from fakemedia.catalog.file_datasets import TableDataset
    from fakemedia.networks.checkpoint import content_of, read_meta

    manifest = read_manifest(path)
    if manifest is None or manifest.inputs.get("checkpoint") != content_of(read_meta(checkpoint)):
        return None
    return TableDataset(str(path)).load()


def _checkpoint_folders(context: Context) -> dict[tuple[str, ...], Path]:
    """Return the checkpoint folders, on the disk and in the storage, by sequence, method, seed and stage."""
    template = str(context.path(CHECKPOINT, **{part: f"<{part}>" for part in HANDLE_PARTS}))
    pattern = re.compile(re.sub("<([a-z]+)>", r"(?P<\1>[^/]+)", re.escape(template)))
    in_storage = [] if context.storage is None else map(str, context.storage.folders())
    on_disk = (path for path in glob.glob(re.sub("<[a-z]+>", "*", template)) if Path(path).is_dir())
    matches = (pattern.fullmatch(path) for path in dict.fromkeys((*on_disk, *in_storage)))
    return {tuple(match[part] for part in HANDLE_PARTS): Path(match[0]) for match in matches if match}


def _last(context: Context, sequence: str, stages: list[str]) -> str:
    """Return the last of `stages` that the configured sequence has, or else the last by name."""
    keys = [stage.key for stage in context.plan(sequence).stages] if sequence in context.sequences else []
    return ([stage for stage in keys if stage in stages] or stages)[-1]
