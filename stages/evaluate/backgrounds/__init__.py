"""Backgrounds challenge: the same actors or objects before other backgrounds, or without."""
