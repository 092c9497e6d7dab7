"""MoCo on clips or frames: two views of a video agree, against a queue of other videos.

The baseline of RSPNet, PreViTS and FAME (He et al., CVPR 2020; Chen et al., 2020).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.parameters import constant
from stages.learning.clips import sample_window
from stages.learning.colour import ColourLaw
from stages.learning.method import Method, Step
from stages.learning.momentum_contrast import MomentumContrast
from stages.learning.pair_views import picture_pair, sample_view, usual_crop
from stages.learning.sample import Sample

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.learning.objective import Objective


class MoCo(Method, version=1):
    """Hyper-parameters; the defaults are those of FAME's baseline (fame.md section 4).

    Parameters
    ----------
    num_frames, frame_stride : int
        Of a view; one frame makes it the image model, for a 2-D encoder.
    size : int
        Side of a view in pixels.
    crop_area : (float, float)
        Share of the frame that a view is cut from.
    contrast : MomentumContrast
    colour : bool
        Whether `colour_law` is applied.
    colour_law : ColourLaw
    mean, std : (float, float, float)
        Of the channels in 0..1; the defaults are those of Kinetics-400.
    """

    synchronised_batch_norm: ClassVar[bool] = False  # shuffled batches take its place
    form_from: ClassVar[str] = "FAME and PreViTS code: shuffled batches"

    num_frames: int = constant(16, "FAME code: dataset", ge=1)
    frame_stride: int = constant(2, "FAME code: dataset", ge=1)
    size: int = constant(112, "FAME code: R(2+1)D; 224 for I3D", ge=32)
    crop_area: tuple[float, float] = constant((0.2, 1.0), "FAME code: moco/loader.py")
    contrast: MomentumContrast = constant(MomentumContrast(), "FAME supplement and code")
    colour: bool = constant(True, "FAME code: moco/loader.py")
    colour_law: ColourLaw = constant(ColourLaw(), "FAME supplement and code")
    mean: tuple[float, float, float] = constant(
        (0.43216, 0.394666, 0.37645), "FAME code: moco/loader.py"
    )
    std: tuple[float, float, float] = constant(
        (0.22803, 0.22145, 0.216989), "FAME code: moco/loader.py"
    )

    def consequences(self) -> Iterable[tuple[str, Any, str]]:
        """The encoder's form and the crop."""
        yield from super().consequences()
        yield from usual_crop("FAME code: moco/loader.py; RSPNet's is the same")

    def idle(self) -> frozenset[str]:
        """The law of colours that are not changed."""
        return frozenset() if self.colour else frozenset({"colour_law"})

    def views(self, sample: Sample, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
        """``first`` and ``second``: clips (T, S, S, 3), uint8, of one video."""
        return {
            name: sample_view(
                sample.frames,
                rng,
                indices=sample_window(
                    rng,
                    length=len(sample.frames),
                    num_frames=self.num_frames,
                    stride=self.frame_stride,
                ),
                size=self.size,
                area=self.crop_area,
            )
            for name in ("first", "second")
        }

    def heads(self, encoder: nn.Module) -> Mapping[str, nn.Module]:
        """See `MomentumContrast.heads`."""
        return self.contrast.heads(encoder)

    def loss(
        self, objective: Objective, batch: Mapping[str, Tensor], generator: np.random.Generator
    ) -> Step:
        """Contrast of the two views."""
        from stages.learning.photometric import network_input

        law = self.colour_law if self.colour else None
        first, second = (
            network_input(batch[name], generator, law=law, mean=self.mean, std=self.std)
            for name in ("first", "second")
        )
        return self.contrast.step(objective, first, second, generator)

    def after_step(self, objective: Objective, step: Step) -> None:
        """Queue and twin."""
        self.contrast.after_step(objective, step)

    def picture(self, views: Mapping[str, NDArray[np.generic]]) -> NDArray[np.uint8]:
        """Both views, before colours are changed."""
        return picture_pair(views["first"], views["second"])
