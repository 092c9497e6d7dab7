"""How long reading a data set's files takes before anything is decoded.

Three parts: a list of 100,000 videos matched with files, folders of 40 images digested for
the first time and again, and mini-Kinetics' pickled boxes beside ``numpy.load``.

``python benchmarks/datasets.py [--scale 0.1]``
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.digests import Digests
from pipeline.found_file import FoundFile
from stages.sources.pickled_array import read_pickled_array
from stages.sources.something_v2 import SomethingV2


def seconds(work: Callable[[], Any]) -> float:
    """Wall-clock time of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def matching(root: Path, videos: int) -> str:
    """Scan Something-Something V2 in its layout, with empty files."""
    (root / "videos").mkdir()
    for i in range(videos):
        (root / "videos" / f"{i}.webm").touch()
    train = [{"id": str(i), "template": "Moving [something] up"} for i in range(videos)]
    lists = {"labels": {"Moving something up": "0"}, "train": train, "validation": []}
    for name, content in lists.items():
        (root / f"{name}.json").write_text(json.dumps(content))
    source = SomethingV2(path=root)
    took = seconds(lambda: source.scan(digest=lambda files: [""] * len(files), dataset=None))
    return f"{videos} listed videos matched with files: {took:.1f} s"


def digesting(root: Path, folders: int) -> str:
    """Digests of folders of 40 images of 8 kB, read and then remembered."""
    paths = [root / str(i) for i in range(folders)]
    for i, path in enumerate(paths):
        path.mkdir()
        for j in range(40):
            (path / f"{j:05d}.jpg").write_bytes(bytes([i % 256, j]) * 4000)
    digests = Digests(root / "digests.sqlite")
    first, again = (
        seconds(lambda: digests([FoundFile.at(path) for path in paths])) for _ in range(2)
    )
    digests.close()
    return f"{folders} folders of 40 images: {first:.2f} s, remembered {again:.2f} s"


def unpickling(root: Path, videos: int) -> str:
    """Boxes of videos of 300 frames with two boxes each; best of three in turn."""
    rng = np.random.default_rng(0)
    content: Any = {
        "class": {
            f"{video:011d}": {
                frame: {"human_boxes": rng.random((2, 5), np.float32)} for frame in range(1, 301)
            }
            for video in range(videos)
        }
    }
    path = root / "boxes.npy"
    np.save(path, content, allow_pickle=True)
    del content
    readers = (read_pickled_array, lambda file: np.load(file, allow_pickle=True))
    rounds = [[seconds(lambda read=read: read(path)) for read in readers] for _ in range(3)]
    ours, peer = np.min(rounds, axis=0)
    return f"boxes of {videos} videos: {ours:.2f} s, numpy.load {peer:.2f} s"


def main() -> None:
    """Print a line a part."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers of files")
    scale = parser.parse_args().scale
    for part, count in ((matching, 100_000), (digesting, 1000), (unpickling, 500)):
        with tempfile.TemporaryDirectory() as folder:
            print(part(Path(folder), max(1, int(count * scale))))


if __name__ == "__main__":
    main()
