"""`kedro forge`: a new fake-media task from photographs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from fakemedia.cli.params_option import parsed
from fakemedia.cli.plain_errors import plain_errors
from fakemedia.context.loading import load_context
from fakemedia.core.errors import UserError


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--family", required=True, help="How the fakes are made: a file in src/fakemedia/forge/.")
@click.option("--params", default="", callback=parsed, help="Settings of the family, such as factor=3,amount=1.5.")
@click.option("--collection", help="The forged collection whose photographs, split, size and number of pictures are "
              "taken, instead of that of the default sequence.")
@plain_errors
def forge(folder: Path, family: str, params: dict[str, Any], collection: str | None) -> None:
    """Make a fake-media task of known traces in FOLDER, which is named after it.

    It stands for a new generator: kedro update and kedro watch take the folder.
    """
    from fakemedia.forge import forge as make

    context = load_context()
    collection = collection or context.plan(context.default_sequence).collection
    config = context.forge_config(collection)
    if config is None:
        raise UserError(f"The pictures of the collection {collection} are not forged", where="--collection",
                        expected="a collection with the key forge")
    folder = folder.absolute()
    make(replace(config, tasks={folder.name: {**params, "family": family}}), folder.parent)
    click.echo(f"{folder}: {', '.join(f'2 x {count} {split}' for split, count in config.per_class.items())} pictures, "
               "real and fake")
