"""The manifest: what an artifact is, how it was made, and which files it consists of.

Written last; an artifact without a manifest does not exist. The quarantine is part of it:
a rejected video is a row with its cause, not a log line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from storage_schemas.errors import StoreError

MANIFEST_NAME = "manifest.json"
PREVIEW_NAME = "preview.jpg"
_DAMAGED = "`tubelet verify --discard` removes it, and the next run computes it again"


@dataclass(frozen=True)
class QuarantineRow:
    """A video that a stage rejected, and why.

    ``frames_got`` and ``frames_expected`` are filled where frames were counted.
    """

    video_id: str
    stage: str
    error: str
    message: str
    frames_got: int | None = None
    frames_expected: int | None = None


@dataclass(frozen=True)
class FileEntry:
    """One file of an artifact; ``rows`` counts table rows, 0 where that means nothing."""

    sha256: str
    bytes: int
    rows: int = 0


@dataclass(frozen=True)
class Manifest:
    """See the module docstring. ``seconds`` adds up the work, also over interruptions.

    ``parameters`` are resolved, every default included; ``inputs`` maps a role to the keys
    it was bound to; ``items`` names the videos in the order of the files.
    ``code`` is the commit of this code, or the version that was installed.
    """

    FORMAT: ClassVar[int] = 1

    key: str
    stage: str
    stage_version: int
    step: str
    noun: str
    noun_version: int
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Sequence[str]]
    part: str | None
    items: Sequence[str]
    files: Mapping[str, FileEntry]
    quarantined: Sequence[QuarantineRow] = ()
    notes: Sequence[str] = ()
    seconds: float = 0.0
    created: str = ""
    host: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    code: str = ""

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files.values())

    def to_json(self) -> str:
        """Text of ``manifest.json``."""
        return json.dumps(self.to_content(), indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, *, where: str) -> Self:
        """Inverse of `to_json`; raises `StoreError` if it is damaged, or newer than we are."""
        return cls.from_content(read_content(text, where=where), where=where)

    def to_content(self) -> dict[str, Any]:
        """What stands in ``manifest.json``."""
        return {"format": self.FORMAT, **asdict(self)}

    @classmethod
    def from_content(cls, content: dict[str, Any], *, where: str) -> Self:
        """Inverse of `to_content`, which it uses up; raises as `from_json` does."""
        found = content.pop("format", None)
        if found != cls.FORMAT:
            raise StoreError(
                f"{where} has manifest format {found}, this tubelet reads {cls.FORMAT}; "
                "upgrade tubelet, or use another store with --store DIR"
            )
        try:
            files = {name: FileEntry(**entry) for name, entry in content.pop("files").items()}
            rejected = [QuarantineRow(**row) for row in content.pop("quarantined")]
            return cls(**content, files=files, quarantined=rejected)
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{where} is damaged ({error}); {_DAMAGED}") from error


def read_content(text: str, *, where: str) -> dict[str, Any]:
    """What stands in a ``manifest.json``; raises `StoreError` if it is damaged."""
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise StoreError(f"{where} is damaged ({error}); {_DAMAGED}") from error


@dataclass(frozen=True)
class ArtifactView:
    """An artifact as a report sees it: its manifest, and its files once they are asked for.

    Parameters
    ----------
    manifest : Manifest
    open_folder : callable
        Gives a folder with all its files.
    open_file : callable
        ``open_file(name)`` gives one of them, or None if it has none of this name.
    """

    manifest: Manifest
    open_folder: Callable[[], Path] = field(repr=False)
    open_file: Callable[[str], Path | None] = field(repr=False)

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.open_folder()

    @property
    def preview(self) -> Path | None:
        """Picture that the stage made of its result."""
        return self.open_file(PREVIEW_NAME)
