"""Encoded video -> frames."""
