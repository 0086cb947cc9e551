"""What happens to pictures on their way to a detector: one file a perturbation."""
