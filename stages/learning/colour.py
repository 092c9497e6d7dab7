"""How strongly a method changes colours; free of torch, so that planning can read it."""

from __future__ import annotations

from typing import Literal

from pipeline.parameters import OWN, Parameters, constant


class ColourLaw(Parameters):
    """Random colour changes of a clip, the same in all its frames.

    Parameters
    ----------
    jitter_probability : float
        Of the four operations below together, in random order, each clamped to 0..1.
    brightness, contrast, saturation : float
        *s*: factors are drawn from U(1 - s, 1 + s), not below 0.
    hue : float
        Shift as a share of the circle, U(-hue, hue).
    contrast_around : {"luma", "frame_luma", "channels"}
        What contrast pulls towards: the mean luma of the clip or of each frame, or each
        channel's mean over the clip.
    grey_probability : float
    grey_first : bool
        Whether greyscale comes before the jitter.
    blur_probability : float
        Of a Gaussian blur of each frame.
    blur_sigma : (float, float)
        Bounds of its deviation in pixels.
    blur_taps : int or None
        Side of its kernel, odd; None for ``2 * floor(floor(size / 10) / 2) + 1``.
    solarise_probability : float
        Of inverting what is 0.5 or brighter.
    """

    jitter_probability: float = constant(0.8, "FAME supplement and code", ge=0, le=1)
    brightness: float = constant(0.4, "FAME supplement and code", ge=0)
    contrast: float = constant(0.4, "FAME supplement and code", ge=0)
    saturation: float = constant(0.4, "FAME supplement and code", ge=0)
    hue: float = constant(0.1, "FAME supplement and code", ge=0, le=0.5)
    contrast_around: Literal["luma", "frame_luma", "channels"] = constant("luma", OWN)
    grey_probability: float = constant(0.2, "FAME supplement and code", ge=0, le=1)
    grey_first: bool = constant(True, "FAME code: moco/loader.py")
    blur_probability: float = constant(0.5, "FAME supplement and code", ge=0, le=1)
    blur_sigma: tuple[float, float] = constant((0.1, 2.0), "FAME supplement")
    blur_taps: int | None = constant(None, "FAME code: moco/loader.py", ge=1)
    solarise_probability: float = constant(0.0, "FAME supplement and code", ge=0, le=1)

    def idle(self) -> frozenset[str]:
        """Details of what never happens."""
        idle = set()
        if self.jitter_probability == 0:
            idle |= {"brightness", "contrast", "saturation", "hue", "contrast_around"}
        if self.blur_probability == 0:
            idle |= {"blur_sigma", "blur_taps"}
        return frozenset(idle)


# Of RSPNet, and of PreViTS after it. The rest, which they do not have, has no effect.
ALWAYS_JITTERED = ColourLaw(
    jitter_probability=1.0,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.4,
    contrast_around="luma",
    grey_probability=0.2,
    grey_first=True,
    blur_probability=0.0,
    solarise_probability=0.0,
)
