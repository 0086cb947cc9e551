"""Files that the project makes: written whole or not at all, and marked with what they were made from."""
