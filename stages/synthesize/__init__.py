"""Synthetic patch trajectories (CtP)."""
