"""Two clips of one video as CVRL makes them: what SimCLR and ConST-CL share.

References
----------
Qian et al., *Spatiotemporal Contrastive Video Representation Learning* (CVRL), CVPR 2021.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.parameters import constant
from stages.learning.clip_contrast import ClipContrast
from stages.learning.clips import sample_pair
from stages.learning.colour import ColourLaw
from stages.learning.method import Method
from stages.learning.pair_views import picture_pair
from stages.learning.sample import Sample
from stages.learning.views import FLIP_PROBABILITY, ResizedCrop
from storage_schemas.frames import Frames

if TYPE_CHECKING:
    from torch import Tensor

_TRIES = 100
_FIRST = ColourLaw(
    jitter_probability=0.8,
    brightness=0.8,
    contrast=0.8,
    saturation=0.8,
    hue=0.2,
    contrast_around="channels",
    grey_probability=0.2,
    grey_first=False,
    blur_probability=1.0,
    blur_sigma=(0.1, 2.0),
    blur_taps=None,
    solarise_probability=0.0,
)
_SECOND = _FIRST.model_copy(update={"blur_probability": 0.1, "solarise_probability": 0.2})

Draw = tuple[NDArray[np.int64], ResizedCrop]  # which frames, and how they are cut


class ClipPair(Method, version=1):
    """Base of methods on CVRL's pairs of clips (constcl.md sections 2.1, 2.2 and 4.1).

    Parameters
    ----------
    num_frames, frame_stride : int
        Of a clip.
    size : int
        Side of a view in pixels.
    crop_area, crop_aspect : (float, float)
        Share of the frame that a view is cut from, and width over height of the cut; both
        are drawn uniformly.
    colour : bool
        Whether the laws below are applied.
    first_colour, second_colour : ColourLaw
        The first view is always blurred, the second may be solarised.
    mean, std : (float, float, float)
        Of the channels in 0..1; the defaults map pixels to -1..1.
    clip : ClipContrast
    """

    num_frames: int = constant(16, "ConST-CL supplement table 1; yaml", ge=1)
    frame_stride: int = constant(2, "ConST-CL supplement table 1; yaml", ge=1)
    size: int = constant(224, "ConST-CL supplement table 1; yaml", ge=32)
    crop_area: tuple[float, float] = constant((0.3, 1.0), "CVRL code: video_ssl")
    crop_aspect: tuple[float, float] = constant((0.5, 2.0), "CVRL code: video_ssl")
    colour: bool = constant(True, "CVRL code: video_ssl")
    first_colour: ColourLaw = constant(_FIRST, "CVRL code: video_ssl")
    second_colour: ColourLaw = constant(_SECOND, "CVRL code: video_ssl")
    mean: tuple[float, float, float] = constant(
        (0.5, 0.5, 0.5), "ConST-CL code: zero_centering_image"
    )
    std: tuple[float, float, float] = constant(
        (0.5, 0.5, 0.5), "ConST-CL code: zero_centering_image"
    )
    clip: ClipContrast = constant(ClipContrast(), "ConST-CL code")

    def consequences(self) -> Iterable[tuple[str, Any, str]]:
        """The encoder's form, and of the crop what no parameter changes."""
        yield from super().consequences()
        yield "crop_tries", _TRIES, "CVRL code: video_ssl"
        yield "flip_probability", FLIP_PROBABILITY, "CVRL code: video_ssl"

    def idle(self) -> frozenset[str]:
        """The laws of colours that are not changed."""
        return frozenset() if self.colour else frozenset({"first_colour", "second_colour"})

    def draw_pair(self, frames: Frames, rng: np.random.Generator) -> list[Draw]:
        """Frame indices and geometry of both views."""
        pair_2T = sample_pair(
            rng, length=len(frames), num_frames=self.num_frames, stride=self.frame_stride
        )
        return [
            (
                indices,
                ResizedCrop.sample(
                    rng,
                    height=frames.height,
                    width=frames.width,
                    size=self.size,
                    area=self.crop_area,
                    aspect=self.crop_aspect,
                    tries=_TRIES,
                    log_aspect=False,
                ),
            )
            for indices in pair_2T
        ]

    def cut_pair(self, frames: Frames, pair: list[Draw]) -> dict[str, NDArray[np.generic]]:
        """``first`` and ``second``: clips (T, S, S, 3), uint8."""
        return {
            name: crop.apply(frames.decode(indices))
            for name, (indices, crop) in zip(("first", "second"), pair, strict=True)
        }

    def views(self, sample: Sample, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
        """``first`` and ``second``: clips (T, S, S, 3), uint8, of one video."""
        return self.cut_pair(sample.frames, self.draw_pair(sample.frames, rng))

    def network_input(self, batch: Mapping[str, Tensor], generator: np.random.Generator) -> Tensor:
        """First, then second views as the encoder sees them: (2B, 3, T, S, S)."""
        import torch

        from stages.learning.photometric import network_input

        laws = {"first": self.first_colour, "second": self.second_colour}
        views = [
            network_input(
                batch[name],
                generator,
                law=law if self.colour else None,
                mean=self.mean,
                std=self.std,
            )
            for name, law in laws.items()
        ]
        return torch.cat(views)

    def picture(self, views: Mapping[str, NDArray[np.generic]]) -> NDArray[np.uint8]:
        """Both views, before colours are changed."""
        return picture_pair(views["first"], views["second"])
