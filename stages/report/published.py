"""Published numbers, and which of them are of the same thing as one of ours.

``published.csv`` ships with the code. Values are per cent; a data set, method or encoder is
called as it is here, where it exists here. Numbers that could not be read in a source are not
in it.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from storage_schemas.manifest import ArtifactView, Manifest
from storage_schemas.videos import VideoFile

FILE = Path(__file__).with_name("published.csv")
_PUBLISHED_WIDTH = 64  # of an encoder; others are no published ones


@dataclass(frozen=True)
class Published:
    """One number of a paper.

    ``protocol`` is ours; without the letter of a form, the source does not tell which.
    """

    protocol: str
    dataset: str
    method: str
    encoder: str
    pretrained_on: str
    metric: str
    value: float
    source: str

    def of_protocol(self, protocol: str) -> bool:
        """Whether the protocol is one of ours, or a form of it."""
        return protocol == self.protocol or protocol.startswith(f"{self.protocol} ")


@cache
def published() -> tuple[Published, ...]:
    """All rows of the file."""
    with FILE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return tuple(
        Published(
            protocol=row["protocol"],
            dataset=row["dataset"],
            method=row["method"],
            encoder=row["encoder"],
            pretrained_on=row["pretrained on"],
            metric=row["metric"],
            value=float(row["value"]),
            source=row["source"],
        )
        for row in rows
    )


@dataclass(frozen=True)
class Origin:
    """What a number of ours was measured on; empty where the artifacts do not tell."""

    dataset: str = ""
    method: str = ""
    encoder: str = ""

    def matching(self, protocol: str, metric: str) -> list[Published]:
        """Numbers of the same method, encoder, data set, protocol and metric."""
        return [
            one
            for one in published()
            if one.of_protocol(protocol)
            and (one.metric, one.dataset) == (metric, self.dataset)
            and (one.method, one.encoder) == (self.method, self.encoder)
        ]


def origin_of(view: ArtifactView, by_key: Mapping[str, Manifest]) -> Origin:
    """Follow a result's inputs to the source of its videos and to the encoder's training."""
    videos = _last(view.manifest, by_key, ("features", "shards", "frames", "videos"))
    parameters = _last(view.manifest, by_key, ("features", "classifier", "encoder")).parameters
    encoder = parameters.get("encoder")
    if not isinstance(encoder, Mapping) or encoder.get("width") != _PUBLISHED_WIDTH:
        encoder = {}
    return Origin(
        dataset=videos.stage if videos.noun == VideoFile.name else "",
        method=str(parameters.get("method", {}).get("name", "")),
        encoder=str(encoder.get("name", "")),
    )


def _last(manifest: Manifest, by_key: Mapping[str, Manifest], roles: Sequence[str]) -> Manifest:
    """Where the first input of one of these roles leads to in the end."""
    for role in roles:
        for key in manifest.inputs.get(role, ()):
            if key in by_key:
                return _last(by_key[key], by_key, roles)
    return manifest


def beside(protocols: Sequence[str]) -> list[Published]:
    """Numbers of any data set with these protocols, for orientation."""
    return [one for one in published() if any(one.of_protocol(name) for name in protocols)]
