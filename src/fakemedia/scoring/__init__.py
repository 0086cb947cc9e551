"""Pictures of the user's own: which, by which detector, how likely fake, and why."""
