"""What the stages that draw maps share: a few test videos, one view or two of each, pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.heat import clips_of, map_film, map_sheet
from pipeline.pictures import stack
from pipeline.stage import Context, GatherStage
from pipeline.wording import counted
from stages.evaluate.clips import EvaluationViews
from stages.evaluate.presets import VIEWS, ViewsPreset
from stages.evaluate.split import rows_to_test
from stages.evaluate.stream import evaluation_devices
from storage_schemas.activation_maps import ActivationMap
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

if TYPE_CHECKING:
    import torch

_ROWS = 12  # of frames in a preview


class MapStage(EvaluationViews, GatherStage, kind=True):
    """Maps of a few videos.

    Parameters
    ----------
    preset : str
        Whose views, but for their number.
    num_videos : int
        Spread evenly over the videos of the test split.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {key: value for key, value in views.items() if key not in ("num_clips", "num_crops")}
        for name, views in VIEWS.items()
    }

    words: ClassVar[Mapping[str, str]] = {}  # kind -> what it is, where maps have no text

    preset: ViewsPreset = "none"
    num_videos: int = Field(8, ge=1)
    num_clips: int = Field(1, ge=1)

    def looked_at(
        self, labels: Labels, shards: Items[Shard], ctx: Context
    ) -> Iterator[tuple[LabelRow, Shard, NDArray[np.uint8]]]:
        """Label, video and views (N, T, S, S, 3) of each video that is looked at."""
        _, rows = rows_to_test(labels, shards)
        count = min(self.num_videos, len(rows))
        for i in range(count):
            row = rows[i * len(rows) // count]
            yield row, shards[row.video_id], self.cut(shards[row.video_id])
            ctx.progress((i + 1) / count, counted(i + 1, "video"))

    def places(self, video: Shard) -> list[dict[str, Any]]:
        """Of each view of `cut` its ``frames_F`` and ``view_xyxy``, as a map has them."""
        boxes = [
            crop.box(video.height, video.width) for crop in self.crops(video.height, video.width)
        ]
        return [
            {"frames_F": frames_F.astype(np.int32), "view_xyxy": box}
            for frames_F in self.indices(len(video))
            for box in boxes
        ]

    def device(self, ctx: Context) -> torch.device:
        """Where so few videos are looked at; all threads are its."""
        import torch

        torch.set_num_threads(ctx.threads)
        return evaluation_devices(ctx.device)[0]

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """The first videos, as many as find room."""
        rows = len(clips_of(next(iter(output.videos.values())))[0]) + 1
        shown = list(output.videos)[: max(1, _ROWS // rows)]
        return stack([self.sheet(v, output, **inputs) for v in shown], gap=12)

    def pictured(self, output: Any, **inputs: Any) -> Sequence[str]:
        return list(output.videos)

    def sheet(self, video_id: str, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """All maps of a video."""
        return map_sheet(self._explained(output.videos[video_id]), inputs["shards"][video_id])

    def film(
        self, video_id: str, output: Any, **inputs: Any
    ) -> tuple[Iterator[NDArray[np.uint8]], NDArray[np.float64]]:
        """A clip, and its maps beside it."""
        return map_film(self._explained(output.videos[video_id]), inputs["shards"][video_id])

    def _explained(self, maps: Sequence[ActivationMap]) -> list[ActivationMap]:
        return [replace(one, text=one.text or self.words.get(one.kind, "")) for one in maps]
