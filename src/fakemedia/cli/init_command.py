"""`fakemedia init`: a new project folder, for the package installed without its repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from fakemedia.artefacts.files import writing
from fakemedia.cli.plain_errors import plain_errors
from fakemedia.core.errors import UserError
from fakemedia.core.plugin import PACKAGE_ROOT

CONF, LOCAL, PROJECT, TELEMETRY, IGNORED = "conf", "conf/local", "pyproject.toml", ".telemetry", ".gitignore"
PYPROJECT = """[tool.kedro]
package_name = "fakemedia"
project_name = "fakemedia"
kedro_init_version = "1.7.0"
source_dir = "."
"""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@plain_errors
def init(folder: Path) -> None:
    """Make FOLDER a project: conf/ with the configuration that the package ships, and what Kedro needs to find it.

    Change the configuration in conf/base/, or override it in conf/local/. Pictures and results go to data/.
    """
    for name in (CONF, PROJECT):
        if (folder / name).exists():
            raise UserError("The folder has a configuration already", where=folder / name,
                            expected="a folder without conf/ and pyproject.toml", do="choose another folder")
    with writing(folder):
        shutil.copytree(PACKAGE_ROOT / "template" / CONF, folder / CONF)
        (folder / LOCAL).mkdir()
        (folder / PROJECT).write_text(PYPROJECT, encoding="utf-8")
        (folder / TELEMETRY).write_text("consent: false\n", encoding="utf-8")
        if not (folder / IGNORED).exists():
            (folder / IGNORED).write_text("/data/\n/logs/\n/conf/local/\n", encoding="utf-8")
    click.echo(f"{folder}: a project. Try it: cd {folder} && fakemedia plan")
