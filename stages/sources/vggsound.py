"""VGG-Sound layout: the official list, and clips named ``<id>_<start>``.

::

    vggsound.csv               no header: youtube_id,start,label,split
    **/<id>_<start>.mp4        start with six digits; ten seconds long, in whatever folders

References
----------
Chen et al., *VGGSound: A Large-scale Audio-Visual Dataset*, ICASSP 2020.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.source import Digest, Listing, Source
from pipeline.stage import Stage
from stages.sources.listed import add_row, clip_name, find_videos, match, read_csv
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow

_CELLS = 4


class VggSound(Source, name="vggsound", version=1):
    """Clips that the list names, with their classes; missing and unlisted ones are told.

    A video's id is its file's name without extension, wherever the file lies.
    """

    path: Path = Path("vggsound")

    def scan(self, *, digest: Digest, dataset: tuple[Stage, str] | None) -> Listing:
        """List the videos in the order of their ids."""
        root = self.path.expanduser()
        rows = read_list(root / "vggsound.csv")
        files, repeated = find_videos(root)
        listing = match(rows, files, digest=digest)
        if not listing.videos:
            raise SourceError(
                f"{root} holds none of the {len(rows)} clips of vggsound.csv; they are called "
                f"<youtube id>_<start>.mp4, the start with six digits. Set --set "
                f"{self.name}.path=DIR"
            )
        return Listing(listing.videos, listing.labels, [*listing.notes, *repeated])


def read_list(path: Path) -> list[LabelRow]:
    """Rows of ``vggsound.csv``; labels may hold commas, in quotes.

    Raises
    ------
    SourceError
        If the list is missing, a row is malformed, or rows contradict each other.
    """
    rows: dict[str, LabelRow] = {}
    for number, cells in read_csv(path):
        where = f"{path}:{number}"
        if len(cells) != _CELLS or cells[3] not in ("train", "test") or not cells[2]:
            raise SourceError(f"{where}: {cells} is not youtube_id,start,label,train|test")
        youtube_id, start, label, split = cells
        name = clip_name(youtube_id, start, where=where)
        add_row(rows, LabelRow(name, label, split), where=where)
    if not rows:
        raise SourceError(f"{path} is empty; put the official list there")
    return list(rows.values())
