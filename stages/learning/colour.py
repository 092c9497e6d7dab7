"""How strongly a method changes colours; free of torch, so that planning can read it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.parameters import Parameters


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

    jitter_probability: float = Field(0.8, ge=0, le=1)
    brightness: float = Field(0.4, ge=0)
    contrast: float = Field(0.4, ge=0)
    saturation: float = Field(0.4, ge=0)
    hue: float = Field(0.1, ge=0, le=0.5)
    contrast_around: Literal["luma", "frame_luma", "channels"] = "luma"
    grey_probability: float = Field(0.2, ge=0, le=1)
    grey_first: bool = True
    blur_probability: float = Field(0.5, ge=0, le=1)
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    blur_taps: int | None = Field(None, ge=1)
    solarise_probability: float = Field(0.0, ge=0, le=1)


# Of RSPNet, and of PreViTS after it: rspnet.md section 2.
ALWAYS_JITTERED = ColourLaw(jitter_probability=1.0, hue=0.4, blur_probability=0.0)
