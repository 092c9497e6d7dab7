"""ConST-CL (Yuan et al., CVPR 2022): regions of a clip are found again in another clip.

Two clips of a video must agree as wholes (SimCLR's contrast on the encoder's global map);
and what a region of one clip looks like in the other must be told from that other clip's
features, which serve as context (on its region map).

Notes
-----
Behaviour after specs/constcl.md: the released code, with boxes drawn independently.
Departures: invalid boxes are no targets either; the loss of regions is a mean over the
global batch, not over each device's; a map with fewer frames than the context gives all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from pipeline.parameters import OWN, Parameters, constant
from pipeline.pictures import caption, draw_boxes, stack, strip
from stages.learning.clip_pair import ClipPair, Draw
from stages.learning.method import PairMap, Step
from stages.learning.region_boxes import BOX_ASPECT, BOX_WIDTH, proposals_in_view, random_boxes
from stages.learning.sample import Sample
from storage_schemas.errors import ParameterError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.learning.objective import Objective


_SHOWN = 160  # height of a pictured frame


class RegionContrast(Parameters):
    """Settings of the local half (constcl.md sections 4.2-4.5).

    Parameters
    ----------
    bins : int
        Samples of a region, a side.
    context : int
        Frames of the other view's map that a prediction may look at, odd.
    layers, heads, dim : int
        Of the decoder; ``dim`` channels in each head.
    temperature : float
    weight : float
        Of the loss beside that of whole clips.
    """

    bins: int = constant(4, "ConST-CL code: configs/head.py", ge=1)
    context: int = constant(5, "ConST-CL README and code: context_length", ge=1)
    layers: int = constant(3, "ConST-CL supplement table 2; code", ge=1)
    heads: int = constant(3, "ConST-CL supplement table 2; code", ge=1)
    dim: int = constant(128, "ConST-CL supplement table 2; code", ge=1)
    temperature: float = constant(0.2, "ConST-CL code: losses.py", gt=0)
    weight: float = constant(0.001, "ConST-CL code: default", ge=0)

    @field_validator("context")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"{value} context frames have no middle: choose an odd number")
        return value


class ConstCL(ClipPair, version=2):
    """Hyper-parameters, besides those of `ClipPair`.

    Parameters
    ----------
    boxes : {"random", "correlated", "proposals"}
        Where regions come from: drawn in each view by itself; drawn as by the released
        code, whose four draws are one number; or the stage's ``proposals`` input (random
        boxes, SLIC, Felzenszwalb, or detections bound to it).
    num_boxes : int
        Regions of a view.
    min_side : float
        Of proposals, as a share of the view.
    reach : int
        Frames from the middle of a view to where its proposals may come from.
    region : RegionContrast
    """

    needs: ClassVar[frozenset[str]] = frozenset({"proposals"})
    encoder_options: ClassVar[Mapping[str, int]] = {"branches": 2}
    form_from: ClassVar[str] = "ConST-CL supplement table 1; yaml"

    boxes: Literal["random", "correlated", "proposals"] = constant(
        "random", "ConST-CL README: all released models"
    )
    num_boxes: int = constant(8, "ConST-CL supplement and code", ge=1)
    min_side: float = constant(0.05, "ConST-CL supplement", ge=0, lt=1)
    reach: int = constant(8, OWN, ge=0)
    region: RegionContrast = constant(RegionContrast(), "ConST-CL code")

    def consequences(self) -> Iterable[tuple[str, Any, str]]:
        """What drawn boxes are like, as shares of a view."""
        yield from super().consequences()
        if self.boxes != "proposals":
            yield "box_width", list(BOX_WIDTH), "ConST-CL code: video_ssl_inputs.py"
            yield "box_aspect", list(BOX_ASPECT), "ConST-CL code: video_ssl_inputs.py"

    def idle(self) -> frozenset[str]:
        """What concerns proposals, if boxes are drawn; colours, if they are not changed."""
        proposed = frozenset() if self.boxes == "proposals" else {"min_side", "reach"}
        return super().idle() | proposed

    def reads(self) -> frozenset[str]:
        """Proposals, unless boxes are drawn."""
        return self.needs if self.boxes == "proposals" else frozenset()

    def views(self, sample: Sample, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
        """Clips and the boxes of their middle frames.

        ``first`` and ``second`` (T, S, S, 3) uint8; ``boxes`` (2, N, 4) float32, ``xyxy`` in
        pixels of the views; ``valid`` (2, N) bool.
        """
        pair = self.draw_pair(sample.frames, rng)
        found = [self._boxes_of(draw, sample, rng) for draw in pair]
        return {
            **self.cut_pair(sample.frames, pair),
            "boxes": np.stack([boxes_N4 for boxes_N4, _ in found]),
            "valid": np.stack([valid_N for _, valid_N in found]),
        }

    def _boxes_of(
        self, draw: Draw, sample: Sample, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        if self.boxes != "proposals":
            drawn_N4 = random_boxes(rng, self.num_boxes, correlated=self.boxes == "correlated")
            return drawn_N4 * np.float32(self.size), np.ones(self.num_boxes, np.bool_)
        if sample.proposals is None:
            raise ParameterError(
                "pretrain.method.boxes is 'proposals', but the stage has none: bind its input "
                "`proposals` to a stage that makes boxes, or set pretrain.method.boxes=random"
            )
        indices, crop = draw
        return proposals_in_view(
            sample.proposals,
            sample.frames,
            frame=int(indices[self.num_frames // 2]),
            crop=crop,
            count=self.num_boxes,
            min_side=self.min_side,
            reach=self.reach,
            rng=rng,
        )

    def heads(self, encoder: nn.Module) -> Mapping[str, nn.Module]:
        """Projector of whole clips, decoder of regions.

        Raises
        ------
        ParameterError
            If the encoder has one branch.
        """
        from stages.learning.region_contrast import RegionDecoder

        if not hasattr(encoder, "region_stage"):
            raise ParameterError(
                f"constcl needs an encoder with two last stages, {type(encoder).__name__} has one: "
                "build it with branches=2"
            )
        channels = int(encoder.out_channels)  # type: ignore[arg-type]
        region = self.region
        return {
            "projector": self.clip.projector(channels),
            "decoder": RegionDecoder(
                channels, layers=region.layers, heads=region.heads, dim=region.dim
            ),
        }

    def loss(
        self, objective: Objective, batch: Mapping[str, Tensor], generator: np.random.Generator
    ) -> Step:
        """Contrast of clips, plus a little of the contrast of regions."""
        from stages.learning.region_contrast import region_loss

        encoder: Any = objective.encoder
        global_map, region_map = encoder.both_maps(self.network_input(batch, generator))
        clip, seen = self.clip.loss(objective.heads["projector"], global_map)
        predicted_B2NC, regions_B2NC = self.expect_regions(
            objective, region_map, batch["boxes"] / self.size
        )
        region, region_accuracy = region_loss(
            predicted_B2NC, regions_B2NC, batch["valid"], temperature=self.region.temperature
        )
        metrics = {
            "clip": clip.detach(),
            "region": region.detach(),
            **seen,
            "region_accuracy": region_accuracy,
        }
        return Step(clip + self.region.weight * region, metrics)

    def expect_regions(
        self, objective: Objective, map_ACTHW: Tensor, boxes_B2N4: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What each region should look like in the other view, and regions of both views."""
        from stages.learning.region_contrast import regions_and_context

        regions_ANC, context_ACTHW = regions_and_context(
            map_ACTHW,
            boxes_B2N4.transpose(0, 1).flatten(0, 1),
            context=self.region.context,
            bins=self.region.bins,
        )
        other_ACTHW = context_ACTHW.roll(len(boxes_B2N4), 0)
        predicted_ANC, _ = objective.heads["decoder"](regions_ANC, other_ACTHW)
        predicted_B2NC, regions_B2NC = (
            rows_ANC.unflatten(0, (2, -1)).transpose(0, 1)
            for rows_ANC in (predicted_ANC, regions_ANC)
        )
        return predicted_B2NC, regions_B2NC

    def maps(self, objective: Objective, pixels_2CTHW: Tensor, box_4: Tensor) -> Iterable[PairMap]:
        """Where the decoder looks in the second clip for a region of the first one.

        The last layer's attention, a mean over its heads; in each frame it sums to 1, so that
        the middle one is what the paper shows.
        """
        from stages.learning.region_contrast import context_frames, regions_and_context

        encoder: Any = objective.encoder
        _, map_2CTHW = encoder.both_maps(pixels_2CTHW)
        regions_21C, context_2CTHW = regions_and_context(
            map_2CTHW,
            box_4.expand(2, 1, 4),
            context=self.region.context,
            bins=self.region.bins,
        )
        _, attention_1H1M = objective.heads["decoder"](regions_21C[:1], context_2CTHW[1:])
        attention_THW = attention_1H1M[0, :, 0].mean(0).unflatten(0, context_2CTHW.shape[2:])
        share_T = attention_THW.sum((1, 2))
        length = map_2CTHW.shape[2]
        frames = context_frames(length, self.region.context)
        share = float(share_T[frames.index(length // 2)])
        yield PairMap(
            "attention",
            1,
            attention_THW / share_T[:, None, None],
            text=f"{100 * share:.0f} % in the middle",
            covers=(frames[0] / length, (frames[-1] + 1) / length),
            of_box=True,
        )

    def picture(self, views: Mapping[str, NDArray[np.generic]]) -> NDArray[np.uint8]:
        """Both views, before colours are changed, with the boxes of their middle frames."""
        lines = []
        for i, name in enumerate(("first", "second")):
            view_THWC = views[name].astype(np.uint8)
            chosen = [0, len(view_THWC) // 2, len(view_THWC) - 1]
            frames = [strip([view_THWC[t]], height=_SHOWN) for t in chosen]
            boxes_N4 = views["boxes"][i][views["valid"][i].astype(bool)].astype(np.float32)
            frames[1] = draw_boxes(frames[1], boxes_N4 * (_SHOWN / self.size))
            lines.append(caption(strip(frames, height=_SHOWN), f"{name} view"))
        return stack(lines)
