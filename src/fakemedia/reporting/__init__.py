"""Figures, tables and pages, drawn from result files only."""
