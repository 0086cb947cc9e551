"""Files that the project makes: written atomically, each with a manifest of what it was made from."""
