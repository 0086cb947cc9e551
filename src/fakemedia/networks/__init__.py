"""Detector networks: one file a network."""
