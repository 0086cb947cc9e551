"""Types, plans, plugins, random numbers and fingerprints that every room shares."""
