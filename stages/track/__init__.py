"""Unsupervised tubes of moving objects: flow, foreground, linking."""
