"""Parquet tables that say what they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fakemedia.artefacts.files import replacing
from fakemedia.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_KEY = b"fakemedia.identity"


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write `table` atomically, with `table.attrs["identity"]` (str) in the file's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    identity = table.attrs["identity"]
    plain = table.copy(deep=False)
    plain.attrs = {}
    arrow = pa.Table.from_pandas(plain, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), _KEY: identity.encode()})
    with replacing(path) as scratch:
        pq.write_table(arrow, scratch)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table back, its identity in `attrs`; UserError if the file is not there or not whole."""
    import pandas as pd

    identity = stored_identity(path)
    if identity is None:
        raise UserError("This is no table of the project, or it is damaged", where=path,
                        do="delete it and run again with --only-missing-outputs")
    table = pd.read_parquet(path)
    table.attrs["identity"] = identity
    return table


def stored_identity(path: Path) -> str | None:
    """Return what a table was made from; None if it is not there, damaged, or says nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = (pq.read_schema(path).metadata or {}).get(_KEY)
    except (OSError, pa.ArrowException):
        return None
    return found.decode() if found is not None else None


def empty_scores(*, perturbed: bool = False) -> pd.DataFrame:
    """Return a table of scores without rows, as of perturbed images if asked for."""
    import pandas as pd

    columns = {"id": str, "task": str, "label": "int8", "source": str, "logit": "float64"}
    if perturbed:
        columns |= {"perturbation": str, "strength": "float64"}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})
