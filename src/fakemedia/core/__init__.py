"""Words, names, randomness and fingerprints that every room shares: no I/O, no framework."""
