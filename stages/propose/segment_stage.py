"""What every segmentation stage repeats: strided frames in, boxes of regions out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.pictures import caption, draw_boxes, draw_mask, strip
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


def draw(
    output: Boxes,
    frames: Frames,
    *,
    segment: Callable[[NDArray[np.uint8]], NDArray[np.integer]] | None = None,
) -> NDArray[np.uint8]:
    """Four frames that have proposals, with them and the borders of their segments."""
    present = np.unique(output.frame)
    chosen = present[np.linspace(0, len(present) - 1, 4).astype(int)] if len(present) else [0]
    pictures = []
    for t, image in zip(chosen, frames.decode(chosen), strict=True):
        if segment is not None:
            image = draw_mask(image, borders(segment(image)), colour=(255, 255, 0), alpha=0.6)
        pictures.append(draw_boxes(image, output.xyxy[output.in_frame(int(t))]))
    return caption(strip(pictures), f"{output.video_id}  {len(output)} proposals")


def borders(labels_HW: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour belongs to another segment."""
    out = np.zeros(labels_HW.shape, np.bool_)
    out[:, :-1] |= labels_HW[:, 1:] != labels_HW[:, :-1]
    out[:-1] |= labels_HW[1:] != labels_HW[:-1]
    return out
