"""Detector boxes behind one protocol."""
