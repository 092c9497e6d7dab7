"""What the variants of a video cost when they are made for each view, and what storing them would.

``python benchmarks/backgrounds.py`` decodes 40 frames of a real clip, 240 pixels high as JHMDB's,
in every variant, on one thread and in turn: milliseconds of CPU a frame, beside the original.
Then the same variants stored as JPEG: bytes a frame, and by how much Only-FG and No-FG fail to
add up to the original.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from stages.decode.decode import Decode
from stages.evaluate.backgrounds.masked_video import MaskedVideo, VariantVideo
from stages.evaluate.backgrounds.variants import MIXED, VARIANTS, Variant
from storage_schemas.boxes import Boxes, encode_mask
from storage_schemas.frames import Frames
from storage_schemas.jpeg import decode_jpeg, encode_jpeg
from storage_schemas.videos import VideoFile

CLIPS = Path(__file__).parents[1] / "assets" / "clips"
FRAMES = 40


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    videos = variants(masked("walker_b.mp4"), masked("box_a.mp4"))
    at = np.arange(FRAMES)
    seconds: dict[str, list[float]] = {name: [] for name in videos}
    for _ in range(options.rounds):
        for name, video in videos.items():
            started = time.process_time()
            video.decode(at)
            seconds[name].append(time.process_time() - started)
    medians = {name: 1000 * float(np.median(found)) / FRAMES for name, found in seconds.items()}
    for name, value in medians.items():
        print(f"{name:12} {value:.2f} ms a frame, {value / medians['Original']:.1f} x Original")
    stored(videos, quality=Decode().quality)


def masked(name: str) -> MaskedVideo:
    """A real clip with an ellipse that wanders, about as large as an actor."""
    path = CLIPS / name
    whole = Decode(short_side=240).process(videos=VideoFile(name, "", 0, path))
    frames = Frames(
        **vars(whole)
        | {
            "jpegs": [whole.jpegs[t] for t in range(FRAMES)],
            "pts_seconds": whole.pts_seconds[:FRAMES],
            "source_frames": whole.source_frames[:FRAMES],
        }
    )
    y, x = np.mgrid[: frames.height, : frames.width]
    inside = [((x - 100 - 2 * t) / 40) ** 2 + ((y - 120) / 90) ** 2 < 1 for t in range(FRAMES)]
    boxes = Boxes(
        video_id=name,
        num_frames=FRAMES,
        height=frames.height,
        width=frames.width,
        frame=np.arange(FRAMES, dtype=np.int32),
        xyxy=np.tile(np.float32([0, 0, 1, 1]), (FRAMES, 1)),
        mask_runs=[encode_mask(mask_HW) for mask_HW in inside],
    )
    return MaskedVideo(frames, boxes)


def variants(video: MaskedVideo, donor: MaskedVideo) -> dict[Variant, VariantVideo]:
    """All eight."""
    return {name: VariantVideo(name, video, donor if name in MIXED else None) for name in VARIANTS}


def stored(videos: dict[Variant, VariantVideo], *, quality: int) -> None:
    """Print what a second compression would change."""
    at = np.arange(FRAMES)
    original = videos["Original"].decode(at).astype(int)
    total, size = np.zeros_like(original), 0
    for name in ("Only-FG", "No-FG"):
        jpegs = [encode_jpeg(frame, quality=quality) for frame in videos[name].decode(at)]
        total += np.stack([decode_jpeg(data) for data in jpegs])
    for name in VARIANTS[1:]:
        frames = videos[name].decode(at)
        size += sum(len(encode_jpeg(frame, quality=quality)) for frame in frames)
    before = sum(len(data) for data in videos["Original"].video.frames.jpegs)
    error = np.abs(total - original)
    print(
        f"as JPEG of quality {quality}: {size / before:.1f} x the bytes of Original; Only-FG + "
        f"No-FG is wrong by {error.mean():.2f} levels on average, by {error.max()} at most, and "
        f"in {100 * (error > 0).mean():.0f} % of the values"
    )


if __name__ == "__main__":
    main()
