"""Pictures of earlier tasks that a method keeps: which ones, within what budget, and how they are drawn."""
