"""Functions that draw a figure each from tables."""
