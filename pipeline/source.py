"""Where videos come from: the anchor of every key.

A source lists its videos; the key of a part is made of their ids and content digests and
of nothing else, so moving a data set changes no key and replacing a file changes exactly
its part. Labels and splits are an artifact of their own, read by evaluation only.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import field_validator

from pipeline.found_file import FoundFile
from pipeline.graph import Step
from pipeline.remote import is_url
from pipeline.stage import Role, Stage
from pipeline.wording import suggest
from storage_schemas.errors import ParameterError
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.noun import Noun
from storage_schemas.videos import VideoFile

Digest = Callable[[Sequence[FoundFile]], Sequence[str]]


@dataclass(frozen=True)
class Listing:
    """What a scan found.

    Parameters
    ----------
    videos : sequence of VideoFile
        In the order they are to be put into parts; `place` may be None for videos that
        are only generated when the run starts.
    labels : sequence of LabelRow or None
        None where the source knows no labels.
    notes : sequence of str
        What the user should be told: ignored files, videos named by a split but missing.
    """

    videos: Sequence[VideoFile]
    labels: Sequence[LabelRow] | None = None
    notes: Sequence[str] = field(default_factory=tuple)


class Source(Stage):
    """Base of all sources. Its fields say where and what to read; they are *not* in the key.

    A source has no inputs, or one input ``dataset`` when another stage generates the
    files; then `locate` finds them in that stage's artifact.
    """

    package: ClassVar[str] = "stages.sources"
    roles: ClassVar[Mapping[str, Role]] = {}
    output: ClassVar[type[Noun]] = VideoFile
    entry: ClassVar[str] = "scan"
    reads_urls: ClassVar[bool] = False

    @field_validator("*", mode="before")
    @classmethod
    def _read_here(cls, value: Any) -> Any:
        if not cls.reads_urls and isinstance(value, str) and is_url(value):
            raise ValueError(
                "this source reads folders only; copy the data set to one, or read the URL with "
                "--set source=folder"
            )
        return value

    @classmethod
    def find(cls, name: str) -> type[Source]:
        """The source of `package` that is called so; raises `ParameterError` with the nearest."""
        for module in pkgutil.iter_modules(importlib.import_module(cls.package).__path__):
            importlib.import_module(f"{cls.package}.{module.name}")
        known = {source.name: source for source in Source.__subclasses__()}
        if name not in known:
            raise ParameterError(f"no source is named {name!r}; {suggest(name, sorted(known))}")
        return known[name]

    def scan(self, *, digest: Digest, dataset: tuple[Stage, str] | None) -> Listing:
        """List the videos.

        Parameters
        ----------
        digest : callable
            ``digest(files)`` gives the SHA-256 of each file, remembered by place, size and
            time, and shows progress. An unreadable file gives ``unreadable: CAUSE``.
        dataset : (Stage, str) or None
            The stage bound to ``dataset`` and the key of its artifact, which may not
            have been computed yet.

        Raises
        ------
        SourceError
            If the source as a whole is unusable.
        """
        raise NotImplementedError

    def locate(self, video: VideoFile, dataset: Path | None) -> str | Path:
        """Where the file lies now; `dataset` is the folder of the generating artifact."""
        if video.place is None:
            raise NotImplementedError(f"{type(self).__name__} must locate {video.video_id!r}")
        return video.place


class SourceLabels(Stage):
    """Labels and splits of a source; keyed by its rows, so relabelling re-decodes nothing."""

    name: ClassVar[str] = "labels"
    version: ClassVar[int] = 1
    roles: ClassVar[Mapping[str, Role]] = {
        "source": Role(noun=VideoFile, many=True, optional=False)
    }
    output: ClassVar[type[Noun]] = Labels

    def __init_subclass__(cls, **kwargs: Any) -> None:
        raise TypeError("SourceLabels is not meant to be subclassed; give labels in Source.scan")


class SourceSplit(Stage):
    """Only the splits of a source, without classes: what pretraining may know of them.

    A key of its own, so that relabelling videos does not train anew.
    """

    name: ClassVar[str] = "split"
    version: ClassVar[int] = 1
    roles: ClassVar[Mapping[str, Role]] = SourceLabels.roles
    output: ClassVar[type[Noun]] = Labels

    def __init_subclass__(cls, **kwargs: Any) -> None:
        raise TypeError("SourceSplit is not meant to be subclassed; give labels in Source.scan")


def split_of(source: Step, *, step_name: str | None = None) -> Step:
    """The step that holds the splits of a source step, with empty class names."""
    return SourceSplit().of(source=source, step_name=step_name or f"{source.name}_split")


def labels_of(source: Step, *, step_name: str | None = None) -> Step:
    """The step that holds the labels of a source step."""
    return SourceLabels().of(source=source, step_name=step_name or f"{source.name}_labels")
