"""The training loop, stages in sequence, their recipes and their resume states."""
