"""Synthetic trajectories over a real video: what CtP shows its encoder, and the truth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.film import enlargement, text_line
from pipeline.ink import Image, resized
from pipeline.marks import draw_marks, patch_marks
from pipeline.pictures import caption, grid, stack, strip
from pipeline.wording import counted
from storage_schemas.errors import ParameterError
from storage_schemas.frames import Frames
from storage_schemas.trajectories import Trajectories

_ENTRIES, _TILES, _HEIGHT = 4, 8, 190  # of a sheet: clips, frames of a clip, pixels


def patch_film(bank: Trajectories, frames: Frames) -> tuple[Iterator[Image], NDArray[np.float64]]:
    """One bank entry after the other over the video, clip by clip.

    Left is what the encoder sees, right the same with the boxes it is asked for. Frames
    that do not fill a clip are left out.

    Returns
    -------
    images : iterator of ndarray of shape (H, W, 3), uint8
    pts_seconds : ndarray, float64
        Times of those frames.
    """
    count = _count_clips(bank, frames)
    scale = enlargement(bank.size, bank.size)

    def images() -> Iterator[Image]:
        for entry in range(count):
            start = entry * bank.num_frames
            clip = pasted(bank, entry % len(bank), frames, start=start)
            for t, image in enumerate(clip):
                large = resized(image, bank.size * scale, bank.size * scale)
                marked = draw_marks(image, patch_marks(bank, entry % len(bank), t), scale=scale)
                pair = strip([large, marked], height=bank.size * scale)
                seconds = frames.pts_seconds[start + t]
                text = f"frame {start + t}   {seconds:.2f} s   trajectory {entry % len(bank)}"
                yield stack([pair, text_line(text, pair)], gap=0)

    return images(), frames.pts_seconds[: count * bank.num_frames]


def patch_sheet(bank: Trajectories, frames: Frames) -> Image:
    """Frames of the first clips of `patch_film`, with their boxes."""
    rows = []
    for entry in range(min(_ENTRIES, _count_clips(bank, frames))):
        clip = pasted(bank, entry % len(bank), frames, start=entry * bank.num_frames)
        chosen = np.linspace(0, len(clip) - 1, min(_TILES, len(clip))).astype(int)
        tiles = [
            draw_marks(clip[t], patch_marks(bank, entry % len(bank), t), scale=_HEIGHT / bank.size)
            for t in chosen.tolist()
        ]
        rows.append(caption(grid(tiles, columns=_TILES), f"trajectory {entry % len(bank)}"))
    return caption(stack(rows), f"{frames.video_id}   patches of {bank!r}")


def pasted(bank: Trajectories, entry: int, frames: Frames, *, start: int) -> NDArray[np.uint8]:
    """A clip (T, S, S, 3) of the frames from `start`, cut from their middle, with patches."""
    from stages.learning.paste import paste_patches

    clip_THWC = frames.decode(range(start, start + bank.num_frames))
    side = min(frames.height, frames.width)
    top, left = (frames.height - side) // 2, (frames.width - side) // 2
    square = clip_THWC[:, top : top + side, left : left + side]
    small = np.stack(
        [resized(np.ascontiguousarray(image), bank.size, bank.size) for image in square]
    )
    return paste_patches(small, bank[entry])


def _count_clips(bank: Trajectories, frames: Frames) -> int:
    if len(frames) < bank.num_frames:
        raise ParameterError(
            f"{frames.video_id!r} has {counted(len(frames), 'frame')}, a trajectory "
            f"{bank.num_frames}; choose a longer video"
        )
    return len(frames) // bank.num_frames
