"""What every segmentation stage repeats: strided frames in, boxes of regions out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.pictures import caption, draw_boxes, strip
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


def draw(output: Boxes, frames: Frames) -> NDArray[np.uint8]:
    """Four frames that have proposals, with them."""
    present = np.unique(output.frame)
    chosen = present[np.linspace(0, len(present) - 1, 4).astype(int)] if len(present) else [0]
    pictures = [
        draw_boxes(image, output.xyxy[output.in_frame(int(t))])
        for t, image in zip(chosen, frames.decode(chosen), strict=True)
    ]
    return caption(strip(pictures), f"{output.video_id}  {len(output)} proposals")
