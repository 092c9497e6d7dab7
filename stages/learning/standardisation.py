"""What the channels of an encoder's input are standardised with; free of torch."""

from __future__ import annotations

from typing import NamedTuple

Channels = tuple[float, float, float]


class Standardisation(NamedTuple):
    """Mean and standard deviation of R, G and B in 0..1; by default those of ImageNet."""

    mean: Channels = (0.485, 0.456, 0.406)
    std: Channels = (0.229, 0.224, 0.225)


IMAGENET = Standardisation()
