"""The state of a stage in training on the disk: where a run that was killed, stopped or failed continues."""

from __future__ import annotations

import glob
import io
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fakemedia.artefacts.files import PARTIAL, write_file

logger = logging.getLogger(__name__)


def resume_path(folder: Path) -> Path:
    """Return the path of the resume state of the stage that will be saved as `folder`."""
    return folder.with_name(f"{folder.name}.resume.pt")


def best_path(folder: Path, epoch: int) -> Path:
    """Return the path of the best epoch's weights of the stage that will be saved as `folder`."""
    return folder.with_name(f"{folder.name}.best{epoch}.pt")


class ResumeFiles:
    """The resume state of the stage that will be saved as `folder`; only a state of the same `identity` is read.

    `identity` gives what the state depends on, by name, such as {"network": "..."}.
    The weights of the best epoch are in a file of their own, which is written once: the state names its epoch. A kill
    at any moment leaves a state and the best weights that belong to it. `on_saved` is called with `folder` after each
    save.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str],
                 on_saved: Callable[[Path], None] | None = None) -> None:
        self.folder, self.identity, self._on_saved = folder, dict(identity), on_saved
        self._best_epoch: int | None = None

    def load(self) -> dict[str, Any] | None:
        """Return the state and, under "best_weights", the best weights, tensors on the CPU; None if there is none.

        A warning names a damaged state, and one of another identity.
        """
        path = resume_path(self.folder)
        if not path.exists():
            return None
        try:
            state = _read(path)
            identity = state["identity"]
            differing = [name for name in self.identity | identity if self.identity.get(name) != identity.get(name)]
            if not differing:
                best = state["best_file"]
                weights = None if best is None else _read(best_path(self.folder, best))
                self._best_epoch = best
                return {**state, "best_weights": weights}
            reason = f"is of other {' and other '.join(differing)}"
        except Exception:  # damaged bytes make the unpickler raise many kinds of errors
            reason = "is damaged"
        logger.warning("The resume state %s %s: the stage starts again.", path, reason)
        return None

    def save(self, state: Mapping[str, Any], best: tuple[int, Mapping[str, Tensor]] | None) -> None:
        """Write `state` (tensors, numbers, strings, lists and dicts) and the `best` epoch with its weights atomically.

        Weights of an epoch that are already saved are not written again. Raises UserError if the disk is full or the
        folder cannot be written; the state saved before is then kept.
        """
        epoch = None if best is None else best[0]
        if best is not None and epoch != self._best_epoch:
            _write(best_path(self.folder, best[0]), best[1])
        _write(resume_path(self.folder), {"identity": self.identity, "best_file": epoch, **state})
        self._best_epoch = epoch
        for path in _beside(self.folder, "best*.pt"):
            if epoch is None or path != best_path(self.folder, epoch):
                path.unlink(missing_ok=True)
        if self._on_saved is not None:
            self._on_saved(self.folder)


def remove_resume(folder: Path) -> None:
    """Remove the resume state of the stage that is saved as `folder`, and the leftovers of a killed writer."""
    for path in (resume_path(folder), *_beside(folder, "best*.pt"), *_beside(folder, f"*{PARTIAL}", hidden=True)):
        path.unlink(missing_ok=True)


def _beside(folder: Path, ending: str, *, hidden: bool = False) -> list[Path]:
    return list(folder.parent.glob(f"{'.' if hidden else ''}{glob.escape(folder.name)}.{ending}"))


def _write(path: Path, value: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(dict(value), buffer)
    write_file(path, buffer.getbuffer())


def _read(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)
