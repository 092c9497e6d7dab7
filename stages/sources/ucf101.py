"""UCF101 layout: ``UCF-101/<Class>/*.avi`` and ``ucfTrainTestlist/`` with official splits.

References
----------
Soomro et al., *UCF101*, CRCV-TR-12-01, 2012; specs/downstream.md section 1.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pipeline.source import Digest, Listing, Source
from pipeline.stage import Stage
from stages.sources.listed import ignoring_case, match
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow

OFFICIAL = {
    1: {"train": 9537, "test": 3783},
    2: {"train": 9586, "test": 3734},
    3: {"train": 9624, "test": 3696},
}


class Ucf101(Source, name="ucf101", version=1):
    """Videos, classes and one of the three official splits.

    Only videos that the split lists are used. A listed file that is missing is told, not
    guessed; letter case is forgiven, because the folder ``HandstandPushups`` holds files
    spelled ``v_HandStandPushups_*`` and lists are found in both spellings.
    """

    path: Path = Path("ucf101")
    split: Literal[1, 2, 3] = 1

    def scan(self, *, digest: Digest, dataset: tuple[Stage, str] | None) -> Listing:
        """List the videos of the split, in the order of their ids."""
        root = self.path.expanduser()
        rows = read_split(root / "ucfTrainTestlist", self.split)
        videos_root = root / "UCF-101"
        # A broken link counts as present: decode quarantines it with its cause.
        files = [path for path in sorted(videos_root.glob("*/*")) if not path.is_dir()]
        exact = {path.relative_to(videos_root).as_posix(): path for path in files}
        named = ignoring_case(exact, {row.video_id for row in rows})
        listing = match(rows, named, digest=digest, official=OFFICIAL[self.split])
        if not listing.videos:
            raise SourceError(
                f"{videos_root} holds none of the {len(rows)} videos of split {self.split}; it "
                f"must contain <Class>/v_<Class>_gXX_cYY.avi. Set --set {self.name}.path=DIR"
            )
        return listing


def read_split(lists: Path, split: int) -> list[LabelRow]:
    """Rows of ``trainlist0N.txt`` and ``testlist0N.txt``, sorted by video id.

    Train lines carry a class number, test lines do not; the class is the folder in both.

    Raises
    ------
    SourceError
        If a list is missing, a line is malformed, or a video is in both lists.
    """
    rows: dict[str, LabelRow] = {}
    for kind in ("train", "test"):
        path = lists / f"{kind}list{split:02d}.txt"
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(
                f"{path} cannot be read ({getattr(error, 'strerror', error)}); unpack the official "
                "UCF101TrainTestSplits-RecognitionTask.zip beside UCF-101/"
            ) from error
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            found = re.fullmatch(r"\s*([^/]+)/(.+?\.\w+)(?:\s+(\d+))?\s*", line)
            if found is None:
                raise SourceError(f"{path}:{number}: {line!r} is not '<Class>/<file> [number]'")
            video_id = f"{found[1]}/{found[2]}"
            if video_id in rows:
                raise SourceError(f"{path}:{number}: {video_id!r} is listed twice")
            rows[video_id] = LabelRow(video_id=video_id, label=found[1], split=kind)
    return [rows[video_id] for video_id in sorted(rows)]
