"""A folder of videos, searched recursively."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pipeline.source import Listing, Source
from pipeline.stage import Stage
from storage_schemas.errors import SourceError
from storage_schemas.videos import VideoFile

VIDEO_EXTENSIONS = frozenset(
    [
        ".3g2",
        ".3gp",
        ".asf",
        ".avi",
        ".dv",
        ".f4v",
        ".flv",
        ".gif",
        ".h264",
        ".hevc",
        ".ivf",
        ".m1v",
        ".m2ts",
        ".m2v",
        ".m4v",
        ".mjpeg",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpe",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".nut",
        ".ogg",
        ".ogm",
        ".ogv",
        ".rm",
        ".rmvb",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
        ".y4m",
    ]
)


class Folder(Source, name="folder", version=1):
    """All videos below a folder; a video's id is its path relative to it.

    Files count as videos by their extension, whatever they hold: one that cannot be
    decoded is quarantined later, with its cause. Other files and hidden ones are ignored.
    """

    path: Path = Path("videos")

    def scan(self, *, digest: Callable[[Path], str], dataset: tuple[Stage, str] | None) -> Listing:
        """List the videos in the order of their ids."""
        root = self.path.expanduser()
        if not root.is_dir():
            kind = "is a file" if root.is_file() else "does not exist"
            raise SourceError(
                f"{root} {kind}; give a folder of videos with --set {self.name}.path=DIR"
            )
        files, ignored = _walk(root)
        if not files:
            raise SourceError(
                f"{root} holds no video ({sum(ignored.values())} other files); known are "
                f"{' '.join(sorted(VIDEO_EXTENSIONS))}"
            )
        notes = []
        if ignored:
            kinds = ", ".join(f"{suffix or 'no extension'} {n}" for suffix, n in ignored.items())
            notes.append(f"{sum(ignored.values())} files are ignored: {kinds}")
        videos = [
            VideoFile(video_id=video_id, digest=digest(path), bytes=_size(path), path=path)
            for video_id, path in sorted(files.items())
        ]
        return Listing(videos=videos, notes=notes)


def _walk(root: Path) -> tuple[dict[str, Path], Counter[str]]:
    files: dict[str, Path] = {}
    ignored: Counter[str] = Counter()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(folder, name)
            suffix = path.suffix.lower()
            if name.startswith("."):
                continue
            if suffix in VIDEO_EXTENSIONS:
                files[video_id(path.relative_to(root))] = path
            else:
                ignored[suffix] += 1
    return files, ignored


def video_id(relative: Path) -> str:
    """Id of a file: its path with ``/``; bytes that are no UTF-8 become escapes."""
    return os.fsencode(relative.as_posix()).decode("utf-8", "backslashreplace")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a broken link: decode quarantines it with its cause
        return 0
