"""One file a method; its name is its module's name."""
