"""How a moving foreground is told from its background; free of torch, for planning."""

from __future__ import annotations

from typing import Literal

from pipeline.parameters import Parameters, constant


class Foreground(Parameters):
    """Settings of FAME's mask of a clip.

    Parameters
    ----------
    area : float
        Share of the pixels that the mask covers, exactly; FAME's beta.
    by : {"colour", "motion", "centre"}
        What is ranked: how likely a pixel's colour is among the moving ones (FAME), the
        motion itself, or, to see what motion is good for, nearness to the centre.
    moving_seeds, still_seeds : float
        Shares of the pixels, those that move most and least, that colours are learnt from.
    bins : int
        Of each of the three axes of the colour space.
    hue : {"reference", "intended"}
        The released code multiplies a hue in radians by two pi once more, so that the
        circle of hues winds 6.28 times; "intended" does not.
    blur : float
        Side of the Gaussian kernel as a share of the clip's side, rounded to an odd number;
        its deviation is a third of that.
    """

    area: float = constant(0.5, "FAME code: beta", ge=0, le=1)
    by: Literal["colour", "motion", "centre"] = constant("colour", "FAME code: moco/loader.py")
    moving_seeds: float = constant(0.5, "FAME code: moco/loader.py", gt=0, le=1)
    still_seeds: float = constant(0.1, "FAME code: moco/loader.py", gt=0, le=1)
    bins: int = constant(10, "FAME code: moco/loader.py", ge=2, le=64)
    hue: Literal["reference", "intended"] = constant("reference", "FAME code: moco/loader.py")
    blur: float = constant(0.1, "FAME code: moco/loader.py", ge=0, lt=1)
