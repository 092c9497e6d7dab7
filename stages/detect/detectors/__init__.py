"""One file a detector; its name is its module's name."""
