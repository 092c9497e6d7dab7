"""RSPNet (Chen et al., AAAI 2021): relative playback speed, and which video it is.

Two clips of a video at one speed must be nearer to each other than two at different
speeds; beside it, clips of a video at any speed must be told from those of other videos.

Notes
-----
Behaviour after specs/rspnet.md. Departures: a queue of any size is kept whole where the
reference cuts it to a multiple of the batch, and speeds are assigned over the global batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.parameters import cited, constant
from stages.learning.clips import sample_window
from stages.learning.colour import ALWAYS_JITTERED, ColourLaw
from stages.learning.method import Method, PairMap, Step
from stages.learning.pair_views import picture_pair, sample_view, usual_crop
from stages.learning.relative_speed import RelativeSpeed
from stages.learning.sample import Sample

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.learning.objective import Objective


class RSPNet(Method, version=2):
    """Hyper-parameters (rspnet.md sections 2 and 3).

    Parameters
    ----------
    preset : {"reference", "paper"}
        "reference" is the released code, which made the published weights: similarities of
        the speed task are divided by the temperature, the margin is 2. "paper" is the
        formula in print: no temperature, margin 0.15. They differ in the weight of the
        tasks, by a factor of 14.
    num_frames, size : int
        Of the clips that the encoder sees.
    crop_area : (float, float)
    relative : RelativeSpeed
    colour : bool
    colour_law : ColourLaw
        The reference's ``aug_plus`` is ``jitter_probability=0.8, hue=0.1, grey_first=False,
        blur_probability=0.5, blur_sigma=(1.5, 1.5), blur_taps=3``.
    """

    synchronised_batch_norm: ClassVar[bool] = False  # shuffled batches take its place
    form_from: ClassVar[str] = "RSPNet code: shuffled batches"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "reference": {
            "relative": {
                "margin": cited(2.0, "RSPNet code: builder_diffspeed_diffloss.py"),
                "speed_temperature": cited(0.07, "RSPNet code: builder_diffspeed_diffloss.py"),
            }
        },
        "paper": {
            "relative": {
                "margin": cited(0.15, "RSPNet overview figure; PreViTS supplement"),
                "speed_temperature": cited(1.0, "RSPNet overview figure"),
            }
        },
    }

    preset: Literal["reference", "paper"] = constant(
        "reference", "RSPNet code, which made the released weights"
    )
    num_frames: int = constant(16, "RSPNet code: moco-train-base.jsonnet", ge=2)
    size: int = constant(112, "RSPNet code: config/pretrain, but 224 for S3D-G", ge=32)
    crop_area: tuple[float, float] = constant((0.4, 1.0), "RSPNet code: transforms_video")
    relative: RelativeSpeed = RelativeSpeed()
    colour: bool = constant(True, "RSPNet code: transforms_video")
    colour_law: ColourLaw = constant(ALWAYS_JITTERED, "RSPNet code: transforms_video")

    def consequences(self) -> Iterable[tuple[str, Any, str]]:
        """The encoder's form and the crop."""
        yield from super().consequences()
        yield from usual_crop("RSPNet code: transforms_video")

    def idle(self) -> frozenset[str]:
        """The law of colours that are not changed."""
        return frozenset() if self.colour else frozenset({"colour_law"})

    def views(self, sample: Sample, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
        """``query`` and ``key``: consecutive frames (T * speed, S, S, 3), uint8."""
        return {
            name: sample_view(
                sample.frames,
                rng,
                indices=sample_window(
                    rng,
                    length=len(sample.frames),
                    num_frames=self.num_frames * self.relative.speed,
                ),
                size=self.size,
                area=self.crop_area,
            )
            for name in ("query", "key")
        }

    def heads(self, encoder: nn.Module) -> Mapping[str, nn.Module]:
        """See `RelativeSpeed.heads`."""
        return self.relative.heads(encoder)

    def loss(
        self, objective: Objective, batch: Mapping[str, Tensor], generator: np.random.Generator
    ) -> Step:
        """Both tasks; see `RelativeSpeed.step`."""
        from stages.learning.photometric import network_input

        law = self.colour_law if self.colour else None
        query, key = (network_input(batch[name], generator, law=law) for name in ("query", "key"))
        speeds = self.relative.split(query, key, self.num_frames, generator)
        return self.relative.step(objective, speeds, generator)

    def after_step(self, objective: Objective, step: Step) -> None:
        """Queue and twins."""
        self.relative.after_step(objective, step)

    def maps(self, objective: Objective, pixels_2CTHW: Tensor, box_4: Tensor) -> Iterable[PairMap]:
        """See `RelativeSpeed.maps`; boxes are not looked at."""
        return self.relative.maps(objective, pixels_2CTHW)

    def picture(self, views: Mapping[str, NDArray[np.generic]]) -> NDArray[np.uint8]:
        """Query and key, before colours and speeds are chosen."""
        return picture_pair(views["query"], views["key"])
