"""Tubes of moving objects, found without labels or weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.stage import VideoStage
from storage_schemas.boxes import Boxes, encode_mask
from storage_schemas.frames import Frames

if TYPE_CHECKING:
    from stages.track.linking import Tube


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
    min_match : float
        Correlation of two frames, after flow has moved one onto the other, below which
        a cut lies between them.
    window : int
        Frames that are looked at together, about 1 MB each; tubes end at its border.
    """

    working_side: int = Field(128, ge=32)
    min_motion: float = Field(0.12, gt=0)
    noise_factor: float = Field(4.0, gt=0)
    min_proof: float = Field(2.0, ge=0)
    min_area: float = Field(0.004, gt=0, lt=1)
    min_iou: float = Field(0.2, ge=0, le=1)
    max_gap: int = Field(10, ge=0)
    min_length: int = Field(8, ge=2)
    min_score: float = Field(0.5, ge=0, le=1)
    max_tubes: int = Field(8, ge=1)
    min_match: float = Field(0.5, ge=0, le=1)
    window: int = Field(2000, ge=2)

    def process(self, *, frames: Frames) -> Boxes:
        """Tubes of one video, with a mask for each box."""
        return find_tubes(frames, self)


def find_tubes(frames: Frames, parameters: Track) -> Boxes:
    """Tubes of a video as boxes with ``track``, ``score`` and masks.

    Parameters
    ----------
    frames : Frames
    parameters : Track

    Notes
    -----
    PreViTS (WACV 2023) used a learned saliency net and an unnamed tracker; this is a
    substitution that needs no weights (specs/previts.md section 3).
    """
    tubes: list[tuple[int, Tube]] = []
    for start in range(0, len(frames), parameters.window):
        grey_THW = _read_grey(frames, start, parameters)
        if len(grey_THW) > 1:
            tubes += [(start, tube) for tube in _tubes_of_window(grey_THW, parameters)]
    rows = sorted((start + t, k) for k, (start, tube) in enumerate(tubes) for t in tube.masks)
    kept, xyxy, runs = [], [], []
    for frame, k in rows:
        start, tube = tubes[k]
        mask = _enlarge(tube.masks[frame - start], frames.height, frames.width)
        ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(ys):
            kept.append((frame, k))
            xyxy.append((xs[0], ys[0], xs[-1] + 1, ys[-1] + 1))
            runs.append(encode_mask(mask))
    if not kept:
        return Boxes(frames.video_id, len(frames), frames.height, frames.width)
    return Boxes(
        video_id=frames.video_id,
        num_frames=len(frames),
        height=frames.height,
        width=frames.width,
        frame=np.asarray([frame for frame, _ in kept], np.int32),
        xyxy=np.asarray(xyxy, np.float32),
        score=np.asarray([tubes[k][1].score for _, k in kept], np.float32),
        track=np.asarray([k for _, k in kept], np.int32),
        mask_runs=runs,
    )


def _tubes_of_window(grey_THW: NDArray[np.uint8], parameters: Track) -> list[Tube]:
    from stages.track.flow import measure_motion
    from stages.track.foreground import accumulate, moving_regions
    from stages.track.linking import link

    motion = measure_motion(grey_THW, min_match=parameters.min_match)
    evidence_THW = accumulate(
        motion,
        min_motion=parameters.min_motion,
        noise_factor=parameters.noise_factor,
        min_proof=parameters.min_proof,
    )
    return link(
        [moving_regions(evidence, min_area=parameters.min_area) for evidence in evidence_THW],
        evidence_THW,
        motion,
        min_iou=parameters.min_iou,
        max_gap=parameters.max_gap,
        min_length=parameters.min_length,
        min_score=parameters.min_score,
        max_tubes=parameters.max_tubes,
    )


def _read_grey(frames: Frames, start: int, parameters: Track) -> NDArray[np.uint8]:
    """A window of frames at working size, decoded one at a time."""
    import cv2

    scale = min(1.0, parameters.working_side / min(frames.height, frames.width))
    # Very thin frames keep the pixels that flow needs to stand on.
    size = max(16, round(frames.width * scale)), max(16, round(frames.height * scale))
    return np.stack(
        [
            cv2.resize(
                cv2.cvtColor(frames.decode([t])[0], cv2.COLOR_RGB2GRAY),
                size,
                interpolation=cv2.INTER_AREA,
            )
            for t in range(start, min(start + parameters.window, len(frames)))
        ]
    )


def _enlarge(mask_HW: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    import cv2

    soft = cv2.resize(mask_HW.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(soft > 0.5)
