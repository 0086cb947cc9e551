"""Kedro settings of the project."""

from fakemedia.hooks import ProjectHooks
from fakemedia.project import ProjectConfigLoader

CONFIG_LOADER_CLASS = ProjectConfigLoader
CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "local", "merge_strategy": {"parameters": "soft"}}
HOOKS = (ProjectHooks(),)
