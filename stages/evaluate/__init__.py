"""Downstream evaluation with fixed protocols, beside a random encoder of the same shape."""
