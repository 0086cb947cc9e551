"""Continual-learning methods: one file a method."""
