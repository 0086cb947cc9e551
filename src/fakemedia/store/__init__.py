"""Decoded pictures on disk, and batches of crops of them."""
