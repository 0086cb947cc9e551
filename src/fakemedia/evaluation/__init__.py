"""Scores of a network, and every metric computed from them."""
