"""Tubes of moving objects, found without labels or weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.pictures import caption, draw_boxes, draw_mask, palette, strip
from pipeline.stage import VideoStage
from storage_schemas.boxes import Boxes, encode_mask
from storage_schemas.frames import Frames


class Track(VideoStage, name="track", version=1):
    """Find the moving objects of a video.

    Motion that differs from the camera's makes foreground, foreground of neighbouring
    frames is linked into tubes. A still video has none, which is a valid answer.

    Parameters
    ----------
    working_side : int
        Short side that frames are shrunk to; lengths in pixels refer to it.
    min_motion : float
        Least motion beside the camera's, in pixels a frame.
    noise_factor : float
        Least motion in robust deviations above the frame's median.
    min_proof : float
        Grey levels by which its own motion must explain an object's outline or texture
        better than the camera's does.
    min_area : float
        Least area of an object as a fraction of the frame.
    min_iou : float
        Least overlap of two masks of one object, after flow has moved one to the other.
    max_gap, min_length : int
        Frames that an object may go unseen, and that it must last.
    min_score : float
        Least mean evidence of a tube, 0..1.
    max_tubes : int
        Best tubes to keep, by score times length.
    cut_error : float
        Mean absolute grey difference after warping that means a scene cut.
    """

    working_side: int = Field(128, ge=32)
    min_motion: float = Field(0.12, gt=0)
    noise_factor: float = Field(4.0, gt=0)
    min_proof: float = Field(2.0, ge=0)
    min_area: float = Field(0.004, gt=0, lt=1)
    min_iou: float = Field(0.2, ge=0, le=1)
    max_gap: int = Field(10, ge=0)
    min_length: int = Field(8, ge=2)
    min_score: float = Field(0.4, ge=0, le=1)
    max_tubes: int = Field(8, ge=1)
    cut_error: float = Field(25.0, gt=0)

    def process(self, *, frames: Frames) -> Boxes:
        """Tubes of one video, with a mask for each box."""
        return find_tubes(frames, self)

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """Four frames with boxes and masks in the colours of their tubes."""
        assert isinstance(output, Boxes)
        chosen = np.linspace(0, output.num_frames - 1, 6).astype(int)[1:-1]
        pictures = []
        for t, image in zip(chosen, inputs["frames"].decode(chosen), strict=True):
            rows = output.in_frame(int(t))
            tracks = [] if output.track is None else output.track[rows].tolist()
            for row, track in zip(range(rows.start, rows.stop), tracks, strict=True):
                image = draw_mask(image, output.mask(row), colour=palette(track), alpha=0.4)
            pictures.append(draw_boxes(image, output.xyxy[rows], ids=tracks))
        count = 0 if output.track is None else len(np.unique(output.track))
        return caption(strip(pictures), f"{output.video_id}  {count} tubes")


def find_tubes(frames: Frames, parameters: Track) -> Boxes:
    """Tubes of a video as boxes with ``track``, ``score`` and masks.

    Parameters
    ----------
    frames : Frames
    parameters : Track

    Notes
    -----
    PreViTS (CVPR 2022) used a learned saliency net and an unnamed tracker; this is a
    substitution that needs no weights (specs/previts.md section 3).
    """
    import cv2

    from stages.track.flow import measure_motion
    from stages.track.foreground import accumulate, moving_regions
    from stages.track.linking import link

    empty = Boxes(frames.video_id, len(frames), frames.height, frames.width)
    if len(frames) < 2:
        return empty
    scale = min(1.0, parameters.working_side / min(frames.height, frames.width))
    size = (round(frames.width * scale), round(frames.height * scale))
    grey_THW = np.stack(
        [
            cv2.resize(
                cv2.cvtColor(frames.decode([t])[0], cv2.COLOR_RGB2GRAY),
                size,
                interpolation=cv2.INTER_AREA,
            )
            for t in range(len(frames))
        ]
    )
    motion = measure_motion(grey_THW, cut_error=parameters.cut_error)
    evidence_THW = accumulate(
        motion,
        min_motion=parameters.min_motion,
        noise_factor=parameters.noise_factor,
        min_proof=parameters.min_proof,
    )
    tubes = link(
        [moving_regions(e, min_area=parameters.min_area) for e in evidence_THW],
        evidence_THW,
        motion,
        min_iou=parameters.min_iou,
        max_gap=parameters.max_gap,
        min_length=parameters.min_length,
        min_score=parameters.min_score,
        max_tubes=parameters.max_tubes,
    )
    rows = sorted((t, k) for k, tube in enumerate(tubes) for t in tube.masks)
    kept, xyxy, runs = [], [], []
    for t, k in rows:
        mask = _enlarge(tubes[k].masks[t], frames.height, frames.width)
        ys, xs = np.nonzero(mask)
        if len(ys):
            kept.append((t, k))
            xyxy.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
            runs.append(encode_mask(mask))
    if not kept:
        return empty
    return Boxes(
        video_id=frames.video_id,
        num_frames=len(frames),
        height=frames.height,
        width=frames.width,
        frame=np.asarray([t for t, _ in kept], np.int32),
        xyxy=np.asarray(xyxy, np.float32),
        score=np.asarray([tubes[k].score for _, k in kept], np.float32),
        track=np.asarray([k for _, k in kept], np.int32),
        mask_runs=runs,
    )


def _enlarge(mask_HW: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    import cv2

    soft = cv2.resize(mask_HW.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(soft > 0.5)
