"""Variants of a video, made when frames are asked for.

Nothing is compressed a second time, so that the variants differ from the original by what
they say and by nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stages.evaluate.backgrounds.variants import Variant, make_variant, without_box
from storage_schemas.boxes import Boxes
from storage_schemas.donors import Box
from storage_schemas.errors import SchemaError
from storage_schemas.frames import Frames


@dataclass(frozen=True, repr=False)
class MaskedVideo:
    """The frames of a video that have a mask; in another one a donor's actor would be seen.

    Parameters
    ----------
    frames : Frames
    masks : Boxes
        With masks; those of one frame are joined.

    Raises
    ------
    SchemaError
        If the masks are of frames of another size or number, or there are none.
    """

    frames: Frames
    masks: Boxes

    def __post_init__(self) -> None:
        found = self.masks.num_frames, self.masks.height, self.masks.width
        if found != (len(self.frames), self.frames.height, self.frames.width):
            raise SchemaError(
                f"masks are of {found[0]} frames of {found[2]}x{found[1]}, beside {self.frames}; "
                "make both from the same frames, without shard.short_side",
                video_id=self.frames.video_id,
            )
        if not len(self.masks):
            raise SchemaError("no frame has a mask", video_id=self.frames.video_id)

    def __len__(self) -> int:
        return len(self.masked_T)

    @cached_property
    def masked_T(self) -> NDArray[np.int32]:
        """Stored frames that have a mask."""
        return np.unique(self.masks.frame)

    def decode(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Frames (len(indices), H, W, 3)."""
        return self.frames.decode(self.masked_T[indices])

    def decode_masks(self, indices: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Masks of the same frames, (len(indices), H, W)."""
        masks_THW = np.zeros((len(indices), self.frames.height, self.frames.width), np.bool_)
        for mask_HW, frame in zip(masks_THW, self.masked_T[indices], strict=True):
            rows = self.masks.in_frame(int(frame))
            for row in range(rows.start, rows.stop):
                mask_HW |= self.masks.mask(row)
        return masks_THW

    def holes(self, masks_THW: NDArray[np.bool_], box: Box) -> NDArray[np.bool_]:
        """What boxes are drawn around in frames with these masks; see `VariantVideo`."""
        return masks_THW if box == "frame" else np.broadcast_to(self.swept_HW, masks_THW.shape)

    @cached_property
    def swept_HW(self) -> NDArray[np.bool_]:
        """Where the foreground is in any frame, (H, W)."""
        return np.logical_or.reduce(self.decode_masks(np.arange(len(self))), axis=0)


@dataclass(frozen=True, repr=False)
class VariantVideo:
    """A variant of a video.

    Parameters
    ----------
    variant : str
    video : MaskedVideo
    donor : MaskedVideo, optional
        Whose background a mixed one has, looped to its length.
    box : {"frame", "video"}
        What is taken out of a background: the tight box of each frame, which moves with the
        actor, or one around all places where the actor is in any frame, which does not.
    """

    variant: Variant
    video: MaskedVideo
    donor: MaskedVideo | None = None
    box: Box = "frame"

    @property
    def height(self) -> int:
        """Of a frame, as the original's."""
        return self.video.frames.height

    @property
    def width(self) -> int:
        """Of a frame, as the original's."""
        return self.video.frames.width

    def __len__(self) -> int:
        return len(self.video)

    def decode(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Frames (len(indices), H, W, 3)."""
        frames_THWC = self.video.decode(indices)
        if self.variant == "Original":
            return frames_THWC
        masks_THW = self.video.decode_masks(indices)
        return make_variant(
            self.variant,
            frames_THWC,
            masks_THW,
            holes_THW=self.video.holes(masks_THW, self.box),
            background_THWC=None if self.donor is None else self.background(indices, self.donor),
        )

    def background(self, indices: NDArray[np.integer], donor: MaskedVideo) -> NDArray[np.uint8]:
        """Only-BG-T of the donor in the size of this video, (len(indices), H, W, 3)."""
        import cv2

        at = indices % len(donor)
        holes_THW = donor.holes(donor.decode_masks(at), self.box)
        tiled_THWC = without_box(donor.decode(at), holes_THW, tiles=True)
        if tiled_THWC.shape[1:3] == (self.height, self.width):
            return tiled_THWC
        size = self.width, self.height
        resized = [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in tiled_THWC]
        return np.stack(resized).astype(np.uint8, copy=False)
