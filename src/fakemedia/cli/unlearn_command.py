"""`kedro unlearn`: a task is taken out of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fakemedia.catalog.lineage import Lineage
from fakemedia.catalog.version_stores import UPDATE
from fakemedia.cli.plain_errors import plain_errors
from fakemedia.context.context import Context
from fakemedia.context.loading import load_context
from fakemedia.core.errors import UserError

if TYPE_CHECKING:
    from fakemedia.store.pixels import PixelStore


@click.command()
@click.argument("run", metavar="SEQUENCE/LABEL")
@click.option("--task", required=True, help="The task to unlearn.")
@click.option("--seed", type=click.IntRange(min=0), show_default="the first", help="Seed of the run.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the new checkpoint.")
@plain_errors
def unlearn(run: str, task: str, seed: int | None, out: Path) -> None:
    """Take a task out of the last checkpoint of a run, as if it had never been learned.

    For the methods ridge, slda and experts. The statistics of the task are subtracted, so its training pictures are
    read once more: unlearn a task before you delete them. Settings and the calibration are chosen again on validation
    pictures of the other tasks. The checkpoint of the run is left as it is.
    """
    from fakemedia.catalog.handles import find_checkpoint
    from fakemedia.learning.one_step import calibrate_checkpoint, check_output_folder
    from fakemedia.learning.unlearn import check_unlearns
    from fakemedia.learning.unlearn import unlearn as without
    from fakemedia.networks.checkpoint import load

    sequence, *labels = run.split("/")
    if len(labels) != 1:
        raise UserError("This names no run", where=run, expected="sequence/label, such as demo/ridge")
    if sequence == UPDATE:
        raise UserError("A detector that kedro update has learned cannot unlearn", where=run,
                        expected="sequence/label of a sequence of the project, such as demo/ridge",
                        do="kedro rollback, to let the version before the update serve")
    context = load_context()
    source = find_checkpoint(run if seed is None else f"{run}/{seed}", context)
    check_output_folder(out, source)
    checkpoint, collection = load(source), context.plan(sequence).collection
    check_unlearns(checkpoint, task)
    validation = {name: _store(context, collection, name, "val")
                  for name in checkpoint.meta["stage"]["seen"] if name != task}
    missing = [name for name, store in validation.items() if store is None]
    if missing:
        raise UserError(f"The data of {', '.join(missing)} are not ingested, or changed since", where=source,
                        expected="the validation pictures of the tasks that remain",
                        do=f"kedro run --pipelines {sequence} --tags ingestion")
    stores = {name: store for name, store in validation.items() if store is not None}
    unlearned = without(checkpoint, task, train=_store(context, collection, task, "train"), validation=stores,
                        runtime=context.runtime, folder=out,
                        features=lambda name: context.features_folder(collection, name))
    train = {name: _store(context, collection, name, "train") for name in stores}
    calibrate_checkpoint(unlearned, {name: store for name, store in train.items() if store is not None}, stores, out,
                         context.runtime, context.calibration)
    click.echo(f"{out}: {run} without {task}; it knows {', '.join(stores)}")
    for name, accuracy in unlearned.meta["validation"].items():
        click.echo(f"  {name:<20} {accuracy:5.1f} % of the validation pictures right")


def _store(context: Context, collection: str, task: str, split: str) -> PixelStore | None:
    """Return the current store of a split; None if it is not ingested, or changed since."""
    from fakemedia.store.pixels import PixelStore

    lineage = Lineage(context)
    artefact = lineage.store(collection=collection, task=task, split=split)
    if lineage.content(artefact) is None:
        return None
    store = PixelStore.open(artefact.path)
    return PixelStore.open(artefact.path, lineage.files(collection=collection, task=task)) if store.streams else store
