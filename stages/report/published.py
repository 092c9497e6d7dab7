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
from typing import Any

from storage_schemas.manifest import ArtifactView, Manifest

FILE = Path(__file__).with_name("published.csv")


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
    """Follow a result's inputs to its labels' source and to the encoder's training."""
    manifest = view.manifest
    labels = [by_key[key] for key in manifest.inputs.get("labels", ()) if key in by_key]
    sources = [key for one in labels for key in one.inputs.get("source", ())]
    parameters = _training(manifest, by_key)
    return Origin(
        dataset=sources[0].rpartition("-")[0] if sources else "",
        method=str(parameters.get("method", {}).get("name", "")),
        encoder=str(parameters.get("encoder", {}).get("name", "")),
    )


def _training(manifest: Manifest, by_key: Mapping[str, Manifest]) -> Mapping[str, Any]:
    """Parameters of the step that made the encoder."""
    for role in ("features", "classifier", "encoder"):
        for key in manifest.inputs.get(role, ()):
            if key in by_key:
                return _training(by_key[key], by_key)
    return manifest.parameters if isinstance(manifest.parameters.get("encoder"), Mapping) else {}


def beside(protocols: Sequence[str]) -> list[Published]:
    """Numbers of any data set with these protocols, for orientation."""
    return [one for one in published() if any(one.of_protocol(name) for name in protocols)]
