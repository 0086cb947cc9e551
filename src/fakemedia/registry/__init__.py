"""The registry of detectors: versions with all their files, aliases, and a record of every promotion."""
