"""Kedro settings of the project."""

import warnings

from fakemedia.catalog.project_catalog import ProjectContext
from fakemedia.context.loading import ProjectConfigLoader
from fakemedia.hooks import ProjectHooks

CONTEXT_CLASS = ProjectContext
CONFIG_LOADER_CLASS = ProjectConfigLoader
CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "local", "merge_strategy": {"parameters": "soft"}}
# The names of data sets begin with the namespace of their pipeline, on purpose.
warnings.filterwarnings("ignore", message="One or more dataset names contain '.' characters")
HOOKS = (ProjectHooks(),)
