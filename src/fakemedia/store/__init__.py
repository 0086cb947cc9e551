"""Decoded pictures on disk, and batches of crops out of them."""
