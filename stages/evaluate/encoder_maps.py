"""Maps of an encoder without classes: what it responds to, what moves, what is found again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.stage import Context
from stages.evaluate.map_stage import MapStage
from stages.learning.foreground import Foreground
from stages.learning.method import Method, ShowsMaps
from stages.learning.region_boxes import boxes_near
from storage_schemas.activation_maps import ActivationMap, ActivationMaps
from storage_schemas.boxes import Boxes
from storage_schemas.encoders import EncoderFiles
from storage_schemas.labels import Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from stages.learning.objective import Objective

_REACH = 8  # frames from the middle of a clip to where its box may come from


class EncoderMaps(MapStage, name="encoder_maps", version=1):
    """FAME's class-agnostic maps and masks, and what the heads of the encoder's method show.

    Of every view there is ``caam``, the sum of the encoder's channels, and ``fame_mask``, the
    moving foreground, for which no encoder is needed. If the encoder's training kept its heads
    and its method has maps of two clips (`ShowsMaps`), those of the first and the last view are
    added; an encoder that was given has none.

    Parameters
    ----------
    foreground : Foreground
        How the mask is made.
    """

    words: ClassVar[Mapping[str, str]] = {
        "caam": "all channels of the encoder, added up",
        "fame_mask": "what moves, without an encoder",
    }

    num_clips: int = Field(2, ge=1)
    foreground: Foreground = Foreground()

    def run(
        self,
        *,
        encoder: EncoderFiles,
        shards: Items[Shard],
        labels: Labels,
        boxes: Items[Boxes] | None = None,
        ctx: Context,
    ) -> ActivationMaps:
        """Maps of the chosen videos.

        `boxes` are for methods that are asked for a region: the largest in the middle frame of
        the first clip, or the middle of the view where there is none.
        """
        import torch

        device = self.device(ctx)
        seen = _Seen(encoder, self.foreground, device)
        found = {}
        for row, video, clips_NTHWC in self.looked_at(labels, shards, ctx):
            places, clips = self.places(video), torch.from_numpy(clips_NTHWC).to(device)
            alone = seen.alone(clips)
            maps = [
                ActivationMap(kind=kind, values_THW=_numpy(maps_NTHW[n]), **place)
                for n, place in enumerate(places)
                for kind, maps_NTHW in alone.items()
            ]
            if seen.objective is not None and len(places) > 1:
                own = boxes[row.video_id] if boxes is not None and row.video_id in boxes else None
                asked = asked_box(own, video, **places[0])
                maps += seen.paired(clips[[0, -1]], (places[0], places[-1]), asked)
            found[row.video_id] = maps
        return ActivationMaps(found)


class _Seen:
    """The networks that look at clips of uint8."""

    def __init__(self, files: EncoderFiles, foreground: Foreground, device: torch.device) -> None:
        from stages.learning.encoders import load_encoder
        from stages.learning.objective import load_objective

        self.files, self.foreground = files, foreground
        self.encoder = load_encoder(files).to(device).eval()
        self.objective: Objective | None = None
        if files.method and isinstance(Method.choose(files.method), ShowsMaps):
            self.objective = load_objective(files).to(device)

    def alone(self, clips_NTHWC: Tensor) -> dict[str, Tensor]:
        """Maps (N, T', H', W') of each clip by itself."""
        import torch

        from stages.evaluate.activation import class_agnostic
        from stages.learning.foreground_mask import foreground_masks
        from stages.learning.pixels import to_unit

        with torch.inference_mode():
            masks_NHW = foreground_masks(to_unit(clips_NTHWC), self.foreground)
            return {
                "caam": class_agnostic(self.encoder(self._pixels(clips_NTHWC))),
                "fame_mask": masks_NHW[:, None],
            }

    def paired(
        self,
        clips_2THWC: Tensor,
        places: tuple[dict[str, Any], dict[str, Any]],
        asked: tuple[int, NDArray[np.float32]],
    ) -> list[ActivationMap]:
        """Maps of two clips by the method's heads."""
        import torch

        assert self.objective is not None
        method: Any = self.objective.method
        frame, box_4 = asked
        x, y, *_ = view = places[0]["view_xyxy"]
        side = view[2:] - view[:2]
        share_4 = ((box_4 - [x, y, x, y]) / [*side, *side]).astype(np.float32)
        with torch.inference_mode():
            box = torch.from_numpy(share_4).to(clips_2THWC.device)
            found = list(method.maps(self.objective, self._pixels(clips_2THWC), box))
        maps = []
        for one in found:
            place = places[one.clip]
            start, stop = (round(len(place["frames_F"]) * share) for share in one.covers)
            maps.append(
                ActivationMap(
                    kind=one.kind,
                    values_THW=_numpy(one.values_THW),
                    frames_F=place["frames_F"][start:stop],
                    view_xyxy=place["view_xyxy"],
                    text=one.text,
                    asked_frame=frame if one.of_box else None,
                    asked_xyxy=box_4 if one.of_box else None,
                )
            )
        return maps

    def _pixels(self, clips_NTHWC: Tensor) -> Tensor:
        from stages.learning.pixels import normalise

        return normalise(clips_NTHWC, mean=self.files.mean, std=self.files.std)


def asked_box(
    boxes: Boxes | None,
    video: Shard,
    frames_F: NDArray[np.int32],
    view_xyxy: NDArray[np.float32],
) -> tuple[int, NDArray[np.float32]]:
    """Middle frame of a clip, and the box there that shows most in the view, cut by it.

    Without any, a box of half the view's sides in its middle.
    """
    frame = int(frames_F[len(frames_F) // 2])
    low, high = view_xyxy[:2], view_xyxy[2:]
    if boxes is not None:
        _, xyxy_N4 = boxes_near(boxes, video, frame=frame, reach=_REACH)
        cut_N22 = np.clip(xyxy_N4.reshape(-1, 2, 2), low, high)
        area_N = (cut_N22[:, 1] - cut_N22[:, 0]).prod(1)
        if len(area_N) and area_N.max() > 0:
            return frame, cut_N22[area_N.argmax()].reshape(4)
    quarter = (high - low) / 4
    return frame, np.concatenate([low + quarter, high - quarter])


def _numpy(values: Tensor) -> NDArray[np.float32]:
    return values.float().cpu().numpy()
