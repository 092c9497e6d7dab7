"""What pictures cost: contact sheets and annotated films of a real clip, on one core.

    python benchmarks/pictures.py [CLIP ...]

Times are of the process; "plain" is the same film without anything drawn, so the difference
is the drawing. Bytes of a sheet are those of one video at quality 80, before `encode_under`.
``--readme docs/images/stages.jpg`` draws the sheets that the README shows, and measures nothing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from pipeline.film import annotate, write_film
from pipeline.pictures import encode_under, stack
from pipeline.sheet import contact_sheet
from pipeline.stage import VideoStage
from stages.decode.decode import Decode
from stages.detect.detect import Detect
from stages.propose.felzenszwalb import Felzenszwalb
from stages.propose.random_boxes import RandomBoxes
from stages.propose.slic import Slic
from stages.track.track import Track
from storage_schemas.frames import Frames
from storage_schemas.jpeg import encode_jpeg
from storage_schemas.videos import VideoFile

CLIPS = Path(__file__).parents[1] / "assets" / "clips"
ROUNDS = 3
README = (("gymnast_cam03", Track), ("walker_b", Track), ("box_b", Slic), ("walker_b", Detect))
MAX_BYTES = 280_000


def best(work: Callable[[], Any]) -> float:
    """Least process seconds of a few rounds."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def measure(stage: VideoStage, frames: Frames, film: Path) -> tuple[float, int, float, int]:
    """Seconds and bytes of a sheet, seconds and bytes of a film."""
    output: Any = frames
    if stage.name != "decode":
        output = stage.process(frames=frames)  # type: ignore[attr-defined]

    def shoot() -> None:
        images = annotate(stage, output, frames)
        write_film(film, images, frames.pts_seconds, comment="")

    sheet = contact_sheet(stage, output, frames)
    sheet_seconds = best(lambda: contact_sheet(stage, output, frames))
    size = len(encode_jpeg(sheet, quality=80))
    return sheet_seconds, size, best(shoot), film.stat().st_size


def decoded(path: Path) -> Frames:
    """Frames of a clip as the pipeline stores them."""
    return Decode().process(videos=VideoFile(path.name, "", path.stat().st_size, path))


def draw_readme(path: Path) -> None:
    """Write the contact sheets of some clips below each other."""
    sheets = []
    for name, kind in README:
        frames, stage = decoded(CLIPS / f"{name}.mp4"), kind()
        sheets.append(contact_sheet(stage, stage.process(frames=frames), frames))
    path.write_bytes(encode_under(stack(sheets), max_bytes=MAX_BYTES))


def main() -> None:
    """Print a line for each clip and stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="*", type=Path, default=[CLIPS / "walker_a.mp4"])
    parser.add_argument("--readme", type=Path, metavar="FILE")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.readme:
        draw_readme(options.readme)
        return
    film = Path(tempfile.mkdtemp()) / "film.mp4"
    print("| clip | stage | sheet ms | sheet kB | film ms/frame | drawing ms/frame | film kB/s |")
    print("|---|---|---|---|---|---|---|")
    for path in options.clips:
        frames = decoded(path)
        plain = None
        for stage in (Decode(), Track(), Detect(), RandomBoxes(), Slic(), Felzenszwalb()):
            sheet, sheet_bytes, seconds, film_bytes = measure(stage, frames, film)
            per_frame = 1000 * seconds / len(frames)
            plain = per_frame if plain is None else plain
            print(
                f"| {path.stem} | {stage.name} | {1000 * sheet:.0f} | {sheet_bytes / 1000:.0f} "
                f"| {per_frame:.1f} | {per_frame - plain:.1f} "
                f"| {film_bytes / 1000 / frames.pts_seconds[-1]:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
