"""Back-ends of tracking: one file each, found by name."""
