"""Class-agnostic boxes: superpixels, segments, random."""
