"""Tubes of moving objects, found without labels or weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BeforeValidator, Field, SerializeAsAny

from pipeline.stage import VideoStage
from stages.track.backend import Backend
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames

if TYPE_CHECKING:
    from stages.track.tube import Patch, Tube


class Track(VideoStage, name="track", version=5):
    """Find the moving objects of a video.

    A back-end finds regions in each frame, regions of neighbouring frames are linked into
    tubes, tubes of an object that was hidden are joined. A row's ``score`` tells how well
    the frame itself confirms the mask that was carried there, 0 where nothing does: see
    `Boxes.valid_frames`. A still video has no tubes, which is a valid answer.

    Parameters
    ----------
    backend : Backend
        ``motion``, ``saliency``, ``features``, or the path of a module of yours; its
        parameters are set as ``track.backend.NAME``.
    working_side : int
        Short side that frames are shrunk to, or one near it that the JPEG codec gives;
        lengths in pixels refer to it.
    min_area : float
        Least area of an object as a fraction of the frame.
    min_iou : float
        Least overlap of two masks of one object, after flow has moved one to the other.
    max_gap : int
        Frames for which an object that cannot be seen is looked for where it was.
    max_hidden : int
        Frames after which an object can be found again elsewhere.
    min_length : int
        Frames that an object must be seen.
    min_score : float
        Least evidence of a tube, 0..1: of its own motion in its best `min_length` frames.
    max_tubes : int
        Best tubes to keep, by mean score times length.
    min_match : float
        Correlation of two frames, after flow has moved one onto the other, below which
        a cut lies between them.
    window : int
        Frames that are looked at together, about 0.2 MB each. Tubes end at its border: an
        object on both sides is two tubes.
    """

    backend: Annotated[SerializeAsAny[Backend], BeforeValidator(Backend.choose)] = Field(
        default="motion", validate_default=True
    )
    working_side: int = Field(100, ge=32)
    min_area: float = Field(0.004, gt=0, lt=1)
    min_iou: float = Field(0.2, ge=0, le=1)
    max_gap: int = Field(10, ge=0)
    max_hidden: int = Field(100, ge=0)
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
    from stages.track.refine import runs

    rows: list[tuple[int, int, float, Patch]] = []
    count = 0
    for start in range(0, len(frames), parameters.window):
        for tube in tubes_of_window(frames, start, parameters):
            rows += [(t, count, score, patch) for t, score, patch in tube]
            count += 1
    if not rows:
        return Boxes(frames.video_id, len(frames), frames.height, frames.width)
    rows.sort(key=lambda row: row[:2])
    return Boxes(
        video_id=frames.video_id,
        num_frames=len(frames),
        height=frames.height,
        width=frames.width,
        frame=np.asarray([t for t, *_ in rows], np.int32),
        xyxy=np.asarray([patch.xyxy for *_, patch in rows], np.float32),
        score=np.asarray([score for _, _, score, _ in rows], np.float32),
        track=np.asarray([track for _, track, *_ in rows], np.int32),
        mask_runs=[runs(patch, frames.height, frames.width) for *_, patch in rows],
    )


def tubes_of_window(
    frames: Frames, start: int, parameters: Track
) -> list[list[tuple[int, float, Patch]]]:
    """Tubes of some frames: for each its frames, scores and full-size masks."""
    from stages.track.flow import measure_motion
    from stages.track.footage import read
    from stages.track.linking import link
    from stages.track.looks import part
    from stages.track.refine import full_size
    from stages.track.stitching import stitch

    footage = read(frames, start, start + parameters.window, working_side=parameters.working_side)
    if len(footage) < 2:
        return []
    motion = measure_motion(footage.planes[0], min_match=parameters.min_match)
    regions = parameters.backend.regions(footage, motion, min_area=parameters.min_area)
    tubes = link(
        regions,
        motion,
        min_iou=parameters.min_iou,
        max_gap=parameters.max_gap,
        min_length=parameters.min_length,
    )
    tubes = part(tubes, footage.planes)
    tubes = stitch(tubes, footage.planes, motion, max_hidden=parameters.max_hidden)
    tubes = select(tubes, parameters)
    tubes = parameters.backend.follow(tubes, footage, motion)
    out = []
    for tube in tubes:
        rows = []
        for t, patch in sorted(tube.patches.items()):
            inside = patch.shifted(footage.left, footage.top)
            full = full_size(inside, footage.whole, (frames.height, frames.width))
            if full is not None:
                rows.append((start + t, tube.scores[t], full))
        out.append(rows)
    return out


def select(tubes: list[Tube], parameters: Track) -> list[Tube]:
    """The best tubes that are seen long enough and move, by first frame."""
    good = [
        tube
        for tube in tubes
        if len(tube.strengths) >= parameters.min_length
        and tube.evidence(parameters.min_length) >= parameters.min_score
    ]
    best = sorted(good, key=lambda tube: -sum(tube.scores.values()))[: parameters.max_tubes]
    return sorted(best, key=lambda tube: min(tube.patches))
