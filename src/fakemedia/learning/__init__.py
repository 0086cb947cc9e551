"""The training loop, stages in sequence, checkpoints and the runtime."""
