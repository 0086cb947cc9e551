"""Task-similarity measures, one file each, and the grouping of tasks made from them."""
