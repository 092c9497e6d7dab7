"""A folder of videos, searched recursively."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from pipeline.found_file import FoundFile
from pipeline.remote import Url
from pipeline.source import Digest, Listing, Source
from pipeline.stage import Stage
from stages.sources.folder_labels import from_csv, from_folders, split_notes
from stages.sources.walk import VIDEO_EXTENSIONS, video_id, walk
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow


class Folder(Source, name="folder", version=1):
    """All videos below a folder; a video's id is its path relative to it.

    Files count as videos by their extension, whatever they hold: one that cannot be
    decoded is quarantined later, with its cause. Other files and hidden ones are ignored.
    Links to files are followed, also broken ones; links to folders are not, as they may
    form loops.

    Parameters
    ----------
    path : Path or URL
        ``s3://BUCKET/FOLDER`` where the videos are on object storage, which needs the extra
        ``tubelet[s3]``.
    labels : {"none", "folders"}, Path or URL
        Classes, which only evaluation needs: the first folder of a video's id, or a CSV file
        with the columns ``video_id`` (the path below the folder), ``label`` and, if it likes,
        ``split``.
    test_share : float
        Share of the videos that are for testing, where no table says so. It is drawn by
        their ids: others that come or go change nobody's split.
    """

    reads_urls: ClassVar[bool] = True

    path: Path | Url = Path("videos")
    labels: Literal["none", "folders"] | Path | Url = "none"
    test_share: float = Field(0.2, ge=0, le=1)

    def scan(self, *, digest: Digest, dataset: tuple[Stage, str] | None) -> Listing:
        """List the videos in the order of their ids."""
        root = self.path if isinstance(self.path, str) else self.path.expanduser()
        if isinstance(root, Path) and not root.is_dir():
            kind = "is a file" if root.is_file() else "does not exist"
            raise SourceError(
                f"{root} {kind}; give a folder of videos with --set {self.name}.path=DIR"
            )
        found = walk(root)
        if not found.files:
            raise SourceError(
                "; ".join([f"{root} holds no video", *found.notes()])
                + f". Known are {' '.join(sorted(VIDEO_EXTENSIONS))}"
            )
        files = _by_id(found.files, root)
        videos = [
            file.video(video_id, content)
            for (video_id, file), content in zip(
                files, digest([file for _, file in files]), strict=True
            )
        ]
        labels = self._labels([video_id for video_id, _ in files])
        notes = found.notes() + (split_notes(labels) if labels else [])
        return Listing(videos=videos, labels=labels, notes=notes)

    def _labels(self, video_ids: Sequence[str]) -> list[LabelRow] | None:
        if self.labels == "none":
            return None
        if self.labels == "folders":
            return from_folders(video_ids, test_share=self.test_share)
        return from_csv(self.labels, video_ids, test_share=self.test_share)


def _by_id(files: Mapping[str, FoundFile], root: Path | Url) -> list[tuple[str, FoundFile]]:
    """Files with their ids, in the order of these."""
    named: dict[str, FoundFile] = {}
    for path, file in files.items():
        name = video_id(path)
        if named.setdefault(name, file) is not file:
            raise SourceError(
                f"{root} holds two files that are both {name!r} when written as UTF-8; rename one"
            )
    return sorted(named.items())
