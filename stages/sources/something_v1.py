"""Something-Something V1 layout: a folder of JPEG frames a video, and CSV lists.

::

    20bn-something-something-v1/<id>/00001.jpg, ...          12 frames a second
    something-something-v1-labels.csv                        one class a line
    something-something-v1-{train,validation}.csv            <id>;<class>
    something-something-v1-test.csv                          <id>

The lists lie beside the folder of frames or in ``labels/``. Frames are decoded like those
of a video, with the times that ``decode.image_fps`` gives them.

References
----------
Goyal et al., *The "something something" video database*, ICCV 2017; specs/downstream.md
section 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from pipeline.source import Digest, Listing, Source
from pipeline.stage import Stage
from stages.sources.listed import add_row, first_file, match, read_csv
from stages.sources.something_v2 import LIST_NAMES, Split, lists_folders
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow

FRAMES = "20bn-something-something-v1"
OFFICIAL: Mapping[Split, int] = {"train": 86_017, "val": 11_522, "test": 10_960}


class SomethingV1(Source, name="something_v1", version=1):
    """Folders of frames that the lists name, with their classes.

    A video's id is the number that its folder is called. Classes that say left or right
    change when a frame is mirrored: see `storage_schemas.labels.Labels.handed`.

    Parameters
    ----------
    path : Path
    splits : tuple of {"train", "val", "test"}
        Test videos have no class.
    """

    path: Path = Path("something_v1")
    splits: tuple[Split, ...] = Field(("train", "val"), min_length=1)

    def scan(self, *, digest: Digest, dataset: tuple[Stage, str] | None) -> Listing:
        """List the folders of the chosen splits in the order of their ids."""
        root = self.path.expanduser()
        rows: dict[str, LabelRow] = {}
        for split in self.splits:
            for row, where in read_list(root, split):
                add_row(rows, row, where=where)
        folders = {path.name: path for path in (root / FRAMES).glob("[!.]*") if path.is_dir()}
        official = {str(split): OFFICIAL[split] for split in self.splits}
        listing = match(rows.values(), folders, digest=digest, official=official)
        if not listing.videos:
            raise SourceError(
                f"{root / FRAMES} holds none of the {len(rows)} videos that the lists name for "
                f"{', '.join(self.splits)}; they are folders <id>/00001.jpg, .... Set --set "
                f"{self.name}.path=DIR"
            )
        return listing


def read_list(root: Path, split: Split) -> list[tuple[LabelRow, str]]:
    """Rows of a list, each with the place where it stands.

    Raises
    ------
    SourceError
        If a list is missing or malformed, or names a class that the list of classes lacks.
    """
    classes = {cells[0] for _, cells in read_csv(_file(root, "labels"), delimiter=";")}
    path = _file(root, LIST_NAMES[split])
    rows = []
    for number, cells in read_csv(path, delimiter=";"):
        where = f"{path}:{number}"
        labelled = split != "test"
        if len(cells) != 1 + labelled or not cells[0].isdigit():
            raise SourceError(f"{where}: {cells} is not <id>{';<class>' if labelled else ''}")
        label = cells[1] if labelled else ""
        if labelled and label not in classes:
            raise SourceError(f"{where}: {label!r} of video {cells[0]} is not in the labels' list")
        rows.append((LabelRow(cells[0], label, split), where))
    return rows


def _file(root: Path, name: str) -> Path:
    names = [f"something-something-v1-{name}.csv", f"{name}.csv"]
    path = first_file(lists_folders(root), names)
    if path is None:
        raise SourceError(f"{root} holds no {names[0]}; put the official lists there or in labels/")
    return path
