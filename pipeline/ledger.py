"""The append-only ledger: which part each video belongs to, for ever.

A part is a bounded number of videos: the unit of work, of a task and of a retry. A video
keeps its part; new videos open new parts, so adding *k* videos computes *k* videos; a
removed video touches only its part. One ledger serves the whole store, and one line of it
is one part, so that two recipes over one folder share every artifact.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.documents import Documents

PART_SIZE = 64
_NAME = "ledger"


class Ledger:
    """Parts of videos, a line each.

    Parameters
    ----------
    documents : Documents
        Of the store.
    part_size : int
        Most videos that a new part may hold; parts already written stay as they are.
    """

    def __init__(self, documents: Documents, *, part_size: int = PART_SIZE) -> None:
        self._documents = documents
        self.part_size = part_size

    def assign(self, video_ids: Sequence[str]) -> dict[str, list[str]]:
        """Part name -> the given videos in it, new videos in new parts.

        Within a part, videos stand in the order of the ledger, whatever order they are
        given in.
        """
        while True:  # until nobody was quicker
            parts = self._read()
            known = {video_id for videos in parts for video_id in videos}
            new = [video_id for video_id in video_ids if video_id not in known]
            opened = [
                new[start : start + self.part_size] for start in range(0, len(new), self.part_size)
            ]
            lines = [json.dumps(part) for part in opened]
            if not lines or self._documents.append(_NAME, lines, after=len(parts)):
                break
        wanted = set(video_ids)
        return {
            f"{number:04d}": videos
            for number, part in enumerate(parts + opened)
            if (videos := [video_id for video_id in part if video_id in wanted])
        }

    def order(self) -> dict[str, int]:
        """Rank of each known video, in the order in which they came."""
        videos = (video_id for part in self._read() for video_id in part)
        return {video_id: rank for rank, video_id in enumerate(videos)}

    def _read(self) -> list[list[str]]:
        return [json.loads(line) for line in self._documents.lines(_NAME)]
