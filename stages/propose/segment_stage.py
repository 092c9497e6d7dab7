"""What every segmentation stage repeats: strided frames in, boxes of regions out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames

RegionBoxes = tuple[NDArray[np.int32], NDArray[np.float32]]

FrameStride = Field(8, ge=1)
MinSide = Field(0.05, ge=0, le=1)
MaxSide = Field(0.7, ge=0, le=1)


def propose(frames: Frames, per_frame: dict[int, RegionBoxes]) -> Boxes:
    """Boxes of one video from the regions of some of its frames."""
    counts = [len(regions) for regions, _ in per_frame.values()]
    empty = np.zeros((0, 4), np.float32)
    return Boxes(
        video_id=frames.video_id,
        num_frames=len(frames),
        height=frames.height,
        width=frames.width,
        frame=np.repeat(np.asarray(list(per_frame), np.int32), counts),
        xyxy=np.concatenate([empty, *(boxes for _, boxes in per_frame.values())]),
        region=np.concatenate(
            [np.zeros(0, np.int32), *(regions for regions, _ in per_frame.values())]
        ),
    )


def check_order(low: float, high: float, names: str) -> None:
    """Refuse bounds that nothing can lie between."""
    if low > high:
        raise ValueError(f"{names} are {low} and {high}: the first must not exceed the second")
