"""Augmentations of training crops: one file each."""
