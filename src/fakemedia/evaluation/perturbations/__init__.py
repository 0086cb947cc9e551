"""Perturbations of pictures before they reach a detector: one file each."""
