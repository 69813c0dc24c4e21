"""Only its name counts."""
