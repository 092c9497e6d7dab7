"""Frames -> training shards."""
