"""Parameters, paths and plans of the running command."""
