"""Detector networks: one file each."""
