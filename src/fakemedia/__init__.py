"""Continual deepfake detection: learn a sequence of fake-media tasks, and see what is kept and what is forgotten."""

__version__ = "0.1.0"
