"""Scores of a network, the metrics computed from them, calibration and perturbations."""
