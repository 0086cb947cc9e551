"""The detector that serves now: the version that an alias names, exchanged while requests are answered."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fakemedia.core.errors import UserError
from fakemedia.registry.client import Registry
from fakemedia.registry.versions import Version, find_version, open_version
from fakemedia.runtime.threads import cores
from fakemedia.scoring.model import Model
from fakemedia.scoring.onnx_model import OnnxModel

ONNX = "model.onnx"
CONCURRENT_BATCHES = 2
"""Batches that are computed at once, each by its share of the cores: while one waits for its slowest thread, or a
picture is decoded, the other keeps the cores busy."""
RETRY = 2.0
"""Seconds until a failed swap is tried again, though the registry has not changed."""
LOGGER = logging.getLogger("fakemedia.serving")


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A version that is ready: its files were verified, and its network has computed once."""

    version: Version
    model: Model


def open_serving(registry: Registry, version: Version) -> Serving:
    """Return `version`, ready to serve; UserError if a file was changed, or it has no ONNX file."""
    folder = open_version(registry, version)
    if ONNX not in version.files:
        raise UserError(f"Version {version.number} has no ONNX file", where=folder, expected=ONNX,
                        do="register the checkpoint again with the extra onnx installed")
    model = OnnxModel(folder / ONNX, threads=max(1, cores() // CONCURRENT_BATCHES))
    model.outputs(np.zeros((1, model.facts.crop, model.facts.crop, 3), np.uint8))
    return Serving(version=version, model=model)


class LiveDetector:
    """Follows an alias. `current` is replaced in one step; requests that took the former one finish with it."""

    def __init__(self, registry: Registry, alias: str, *, on_swap: Callable[[Serving], None] = lambda serving: None,
                 on_failure: Callable[[], None] = lambda: None) -> None:
        """Open the version that `alias` names; UserError if there is none, or it cannot serve."""
        self._registry, self._alias, self._on_swap, self._on_failure = registry, alias, on_swap, on_failure
        self._stop = threading.Event()
        self._stamp: tuple[object, ...] | None = None
        self._next_attempt = 0.0
        self._thread: threading.Thread | None = None
        self.current = open_serving(registry, find_version(registry, alias))
        self.problem = ""
        """Why the last attempt to follow the alias failed; empty if it succeeded."""
        on_swap(self.current)

    def follow(self, seconds: float) -> None:
        """Start checking every `seconds` which version the alias names."""
        self._thread = threading.Thread(target=self._run, args=(seconds,), name="alias", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """`refresh` if the registry has changed or has no stamp; every RETRY seconds while the last attempt failed."""
        stamp = self._registry.stamp()
        if stamp is None or stamp != self._stamp or (self.problem and time.monotonic() >= self._next_attempt):
            self._stamp = stamp
            self.refresh()
            self._next_attempt = time.monotonic() + RETRY

    def refresh(self) -> None:
        """Serve the version that the alias names now; if it cannot serve, or the alias is gone, keep the former."""
        try:
            number = self._registry.aliases().get(self._alias)
            if number is None:
                raise UserError(f"The alias {self._alias!r} names no version any more", where=self._registry.where)
            if number != self.current.version.number:
                self.current = open_serving(self._registry, find_version(self._registry, number))
                LOGGER.info("version %d serves now", number)
                self._on_swap(self.current)
            self.problem = ""
        except Exception as error:  # The thread must keep running: the next check may succeed.
            if str(error) != self.problem:
                LOGGER.error("version %d keeps serving: %s", self.current.version.number, error)
            self.problem = str(error)
            self._on_failure()

    def close(self) -> None:
        """Stop following the alias."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, seconds: float) -> None:
        while not self._stop.wait(seconds):
            self.check()
