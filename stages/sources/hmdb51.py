"""HMDB51 layout: ``<class>/*.avi`` and the lists ``<class>_test_split<N>.txt``.

::

    **/<class>/*.avi                   in ``videos/`` or elsewhere
    **/<class>_test_split{1,2,3}.txt   lines ``<file>.avi <tag>``

File names hold ``#``, ``(``, ``)`` and ``&``; they never go through a shell.

References
----------
Kuehne et al., *HMDB: A Large Video Database for Human Motion Recognition*, ICCV 2011;
specs/downstream.md section 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pipeline.source import Digest, Listing, Source
from pipeline.stage import Stage
from stages.sources.listed import add_row, find_videos, in_class_folder, match
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow

OFFICIAL = {"train": 3570, "test": 1530}  # 70 and 30 of each of the 51 classes, in all splits
_TAGS = {"0": None, "1": "train", "2": "test"}


class Hmdb51(Source, name="hmdb51", version=1):
    """Videos, classes and one of the three official splits.

    Each split leaves 1666 videos unused (tag 0); they are passed over.
    """

    path: Path = Path("hmdb51")
    split: Literal[1, 2, 3] = 1

    def scan(self, *, digest: Digest, dataset: tuple[Stage, str] | None) -> Listing:
        """List the videos of the split in the order of their ids, ``<class>/<file>.avi``."""
        root = self.path.expanduser()
        rows, unused = read_tagged_lists(root, self.split)
        files, repeated = find_videos(root, in_class_folder)
        listing = match(rows, files, digest=digest, official=OFFICIAL, unused=unused)
        if not listing.videos:
            raise SourceError(
                f"{root} holds none of the {len(rows)} videos of split {self.split}; it must "
                f"contain <class>/<file>.avi. Set --set {self.name}.path=DIR"
            )
        return Listing(listing.videos, listing.labels, [*listing.notes, *repeated])


def read_tagged_lists(root: Path, split: int) -> tuple[list[LabelRow], list[str]]:
    """Rows of all lists ``<class>_test_split<N>.txt`` below `root`, one list a class.

    The tag behind a file's name says where it belongs: 1 train, 2 test, 0 nowhere.

    Returns
    -------
    rows : list of LabelRow
    unused : list of str
        Ids of the videos with tag 0.

    Raises
    ------
    SourceError
        If there is no list, a line is malformed, or lists contradict each other.
    """
    ending = f"_test_split{split}.txt"
    paths = sorted(path for path in root.rglob(f"*{ending}") if not path.name.startswith("."))
    if not paths:
        raise SourceError(
            f"{root} holds no list <class>{ending}; unpack the official archive of splits there"
        )
    rows: dict[str, LabelRow] = {}
    unused = []
    for path in paths:
        label = path.name.removesuffix(ending)
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{path} cannot be read: {error}") from error
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            name, _, tag = line.strip().rpartition(" ")
            if not name or tag not in _TAGS:
                raise SourceError(f"{path}:{number}: {line!r} is not '<file>.avi 0|1|2'")
            video_id, kind = f"{label}/{name.strip()}", _TAGS[tag]
            if kind is None:
                unused.append(video_id)
            else:
                add_row(rows, LabelRow(video_id, label, kind), where=f"{path}:{number}")
    return list(rows.values()), unused
