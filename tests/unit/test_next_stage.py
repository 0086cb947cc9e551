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


@pytest.mark.parametrize(("labels", "refused"), [([0, 0, 1, 1], False), ([1, 1, 0, 0], True), ([1, 1, 1, 1], False)])
def test_labels_that_look_swapped(labels: list[int], refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    store = cast(Any, SimpleNamespace(task="new", labels=np.array(labels)))
    monkeypatch.setattr(next_stage, "score_checkpoint", lambda *args, **kwargs: pd.DataFrame(
        {"label": labels, "logit": [-2.0, -1.0, 1.0, 2.0]}))
    def check() -> None:
        next_stage.check_labels(cast(Any, None), store, runtime=Runtime(), features=Path)

    if refused:
        with pytest.raises(UserError, match="labels look swapped"):
            check()
    else:
        check()
