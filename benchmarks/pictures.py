"""What pictures cost: contact sheets and annotated films of a real clip, on one core.

    python benchmarks/pictures.py [CLIP ...]

Times are of the process; "plain" is the same film without anything drawn, so the difference
is the drawing. Bytes of a sheet are those of one video at quality 80, before `encode_under`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from pipeline.film import annotate, write_film
from pipeline.sheet import contact_sheet
from pipeline.stage import VideoStage
from stages.decode.decode import Decode
from stages.detect.detect import Detect
from stages.propose.felzenszwalb import Felzenszwalb
from stages.propose.random_boxes import RandomBoxes
from stages.propose.slic import Slic
from stages.track.track import Track
from storage_schemas.jpeg import encode_jpeg
from storage_schemas.videos import VideoFile

CLIPS = Path(__file__).parents[1] / "assets" / "clips"
ROUNDS = 3


def best(work: Callable[[], Any]) -> float:
    """Least process seconds of a few rounds."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def main(paths: list[Path]) -> None:
    """Print a line for each clip and stage."""
    cv2.setNumThreads(1)
    film = Path(tempfile.mkdtemp()) / "film.mp4"
    print("| clip | stage | sheet ms | sheet kB | film ms/frame | drawing ms/frame | film kB/s |")
    print("|---|---|---|---|---|---|---|")
    for path in paths:
        frames = Decode().process(videos=VideoFile(path.name, "", path.stat().st_size, path))
        plain = 0.0
        stages: list[VideoStage] = [
            Decode(), Track(), Detect(), RandomBoxes(), Slic(), Felzenszwalb(),
        ]  # fmt: skip
        for stage in stages:
            output = frames if stage.name == "decode" else stage.process(frames=frames)  # type: ignore[attr-defined]
            sheet = contact_sheet(stage, output, frames)

            def shoot(stage: VideoStage = stage, output: Any = output) -> None:
                images = annotate(stage, output, frames)
                write_film(film, images, frames.pts_seconds, comment="")

            def draw(stage: VideoStage = stage, output: Any = output) -> None:
                contact_sheet(stage, output, frames)

            per_frame = 1000 * best(shoot) / len(frames)
            plain = plain or per_frame
            kilobytes = film.stat().st_size / 1000
            print(
                f"| {path.stem} | {stage.name} | {1000 * best(draw):.0f} "
                f"| {len(encode_jpeg(sheet, quality=80)) / 1000:.0f} | {per_frame:.1f} "
                f"| {per_frame - plain:.1f} | {kilobytes / frames.pts_seconds[-1]:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or [CLIPS / "walker_a.mp4"])
