"""Reads the configuration as Kedro does, with errors in one message."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException, OmegaConfigLoader
from kedro.framework.project import settings
from kedro.utils import find_kedro_project
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fakemedia.context.context import Context
from fakemedia.core.errors import UserError


class ProjectConfigLoader(OmegaConfigLoader):
    """Kedro's configuration loader; files that cannot be read are UserErrors."""

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Return the content of the files of `key`."""
        try:
            return super().__getitem__(key)
        except (YAMLError, OmegaConfBaseException, ValueError) as error:  # ValueError: a key in two files of a folder
            raise UserError(f"The configuration cannot be read: {error}", where=self.conf_source,
                            expected="YAML files, each key in one of them", do="correct the file") from error


def make_context(loader: Mapping[str, Any], root: Path) -> Context:
    """Return the context of the project in `root`, with the parameters and the catalog of `loader`."""
    try:
        return Context(root=root, parameters=loader["parameters"], catalog=loader["catalog"])
    except MissingConfigException as error:
        if not (root / "conf").exists():
            raise UserError("There is no project here", where=root,
                            expected="a folder with conf/ and pyproject.toml, or one below it",
                            do="go to one, or make one: fakemedia init FOLDER") from error
        raise UserError(f"There is no configuration: {error}", where=root / "conf",
                        expected="a folder of YAML files", do="name another --env") from error


def project_folder() -> Path | None:
    """Return the folder of the project that the working directory is in; None outside a project."""
    return find_kedro_project(Path.cwd())


def load_context(*, env: str | None = None, conf_source: str | None = None,
                 params: Mapping[str, Any] | None = None) -> Context:
    """Return the context that `kedro run` has with these options, for a command that runs no pipeline."""
    conf = Path(conf_source) if conf_source else (project_folder() or Path.cwd()) / str(settings.CONF_SOURCE)
    loader = ProjectConfigLoader(conf_source=str(conf), env=env or os.getenv("KEDRO_ENV"),
                                 runtime_params=dict(params or {}), **settings.CONFIG_LOADER_ARGS)
    return make_context(loader, conf.resolve().parent)
