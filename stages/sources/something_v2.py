"""Something-Something V2 layout: ``<id>.webm`` and JSON lists.

::

    **/<id>.webm            or .mp4, in whatever folders
    labels.json             {"<template without brackets>": "<number>"}
    train.json, validation.json, test.json
                            [{"id", "label", "template", "placeholders"}], test.json ids only
    test-answers.csv        optional: <id>;<template without brackets>

The lists lie beside the videos or in ``labels/``; ``something-something-v2-`` may go before
their names.

References
----------
Goyal et al., *The "something something" video database*, ICCV 2017; specs/downstream.md
section 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipeline.source import Digest, Listing, Source
from pipeline.stage import Stage
from stages.sources.listed import add_row, find_videos, first_file, match, read_csv
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow

Split = Literal["train", "val", "test"]
LIST_NAMES: Mapping[Split, str] = {"train": "train", "val": "validation", "test": "test"}
OFFICIAL: Mapping[Split, int] = {"train": 168_913, "val": 24_777, "test": 27_157}
_BRACKETS = str.maketrans("", "", "[]")


class SomethingV2(Source, name="something_v2", version=1):
    """Videos that the lists name, with their classes; missing and unlisted ones are told.

    A video's id is its number. Classes that say left or right change when a frame is
    mirrored: see `storage_schemas.labels.Labels.handed`.

    Parameters
    ----------
    path : Path
    splits : tuple of {"train", "val", "test"}
        Test videos have a class only where ``test-answers.csv`` is there.
    """

    path: Path = Path("something_v2")
    splits: tuple[Split, ...] = Field(("train", "val"), min_length=1)

    def scan(self, *, digest: Digest, dataset: tuple[Stage, str] | None) -> Listing:
        """List the videos of the chosen splits in the order of their ids."""
        root = self.path.expanduser()
        rows: dict[str, LabelRow] = {}
        classes = read_classes(root)
        for split in self.splits:
            for row, where in read_list(root, split, classes):
                add_row(rows, row, where=where)
        files, repeated = find_videos(root)
        official = {str(split): OFFICIAL[split] for split in self.splits}
        listing = match(rows.values(), files, digest=digest, official=official)
        if not listing.videos:
            raise SourceError(
                f"{root} holds none of the {len(rows)} videos that its lists name for "
                f"{', '.join(self.splits)}; they are called <id>.webm. Set --set "
                f"{self.name}.path=DIR"
            )
        return Listing(listing.videos, listing.labels, [*listing.notes, *repeated])


def read_classes(root: Path) -> set[str]:
    """Class names of ``labels.json``: templates without brackets.

    Raises
    ------
    SourceError
        If the file is missing or is no JSON mapping.
    """
    path, content = _read_json(root, "labels")
    if not isinstance(content, dict):
        raise SourceError(f"{path} is not a mapping of templates to numbers")
    return set(content)


def read_list(root: Path, split: Split, classes: set[str]) -> list[tuple[LabelRow, str]]:
    """Rows of a list, each with the place where it stands.

    The class is the template without brackets: ``Putting [something] on [something]`` is
    the class ``Putting something on something``; ``label`` names the objects instead.

    Raises
    ------
    SourceError
        If the list is missing or malformed, or names a class that `classes` lacks.
    """
    path, content = _read_json(root, LIST_NAMES[split])
    answers = _read_answers(root) if split == "test" else {}
    rows = []
    try:
        for number, entry in enumerate(content, 1):
            where, video_id = f"{path}, entry {number}", str(entry["id"])
            label = answers.get(video_id, "") if split == "test" else entry["template"]
            label = label.translate(_BRACKETS)
            if label not in classes and not (split == "test" and not label):
                raise SourceError(f"{where}: {label!r} of video {video_id} is not in labels.json")
            rows.append((LabelRow(video_id, label, split), where))
    except (KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{path} is not a list of {{id, template}}: {type(error).__name__} {error}"
        ) from error
    return rows


def lists_folders(root: Path) -> list[Path]:
    """Where lists are looked for."""
    return [root, root / "labels", root / "annotations"]


def _read_json(root: Path, name: str) -> tuple[Path, Any]:
    names = [f"{name}.json", f"something-something-v2-{name}.json"]
    path = first_file(lists_folders(root), names)
    if path is None:
        raise SourceError(
            f"{root} holds neither {names[0]} nor {names[1]}; put the official lists there or "
            "in labels/"
        )
    try:
        return path, json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as JSON: {error}") from error


def _read_answers(root: Path) -> dict[str, str]:
    """Classes of test videos by id; empty where they are not published."""
    path = first_file(
        lists_folders(root), ["test-answers.csv", "something-something-v2-test-answers.csv"]
    )
    return {} if path is None else dict(cells[:2] for _, cells in read_csv(path, delimiter=";"))
