"""From picture files to an audited index: one row per image."""
