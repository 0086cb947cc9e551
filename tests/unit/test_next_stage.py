"""A new task whose labels look swapped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from fakemedia.core.errors import UserError
from fakemedia.learning import next_stage
from fakemedia.runtime.device import Runtime

REAL = np.linspace(-2, 0, 80)
FAKE = np.linspace(1, 3, 80)
"""Logits of known pictures."""


@pytest.mark.parametrize(("reals", "fakes", "refused"), [
    (REAL, FAKE, False),
    (FAKE, REAL, True),
    (REAL + 0.1, REAL - 2, False),
    (REAL - 2, REAL + 0.1, True),
    (REAL + 0.1, REAL, False),
    (REAL, REAL + 0.1, False),
    (REAL[::20] + 0.5, REAL[::20], False),
], ids=["found", "found, swapped", "more real than real", "more real than real, swapped", "not noticed",
        "not noticed, swapped", "too few to tell"])
def test_labels_that_look_swapped(reals: np.ndarray, fakes: np.ndarray, refused: bool,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    stores = [cast(Any, SimpleNamespace(task=task, labels=np.repeat([0, 1], [len(real), len(fake)])))
              for task, real, fake in (("old", REAL, FAKE), ("new", reals, fakes))]
    monkeypatch.setattr(next_stage, "score_checkpoint", lambda *args, **kwargs: pd.DataFrame(
        {"task": np.repeat(["old", "new"], [len(store.labels) for store in stores]),
         "label": np.concatenate([store.labels for store in stores]),
         "logit": np.concatenate([REAL, FAKE, reals, fakes])}))

    def check() -> None:
        next_stage.check_labels(cast(Any, None), stores[1], {"old": stores[0]}, runtime=Runtime(), features=Path)

    if refused:
        with pytest.raises(UserError, match="labels look swapped"):
            check()
    else:
        check()


def test_fakes_alone_have_no_labels_to_swap() -> None:
    store = cast(Any, SimpleNamespace(task="new", labels=np.ones(4, int)))
    next_stage.check_labels(cast(Any, None), store, {}, runtime=Runtime(), features=Path)
