"""One HTML file with the results, the graph and a picture of every stage's artifacts."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.stage import GatherStage
from stages.report.published import beside, origin_of
from storage_schemas.manifest import ArtifactView, QuarantineRow
from storage_schemas.metrics import Metrics, side_by_side
from storage_schemas.report import ReportFile

_PICTURES_PER_STEP = 2


class Report(GatherStage, name="report", version=3):
    """``title`` heads the page."""

    title: str = "tubelet run"

    def run(self, *, about: Sequence[ArtifactView]) -> ReportFile:
        """Render the artifacts and all they rest on."""
        return ReportFile(render(about, title=self.title))


@dataclass
class Section:
    """All parts of one step, added up."""

    step: str
    stage: str
    version: int
    parameters: dict[str, Any]
    inputs: dict[str, list[str]]
    keys: list[str] = field(default_factory=list)
    videos: int = 0
    quarantined: int = 0
    seconds: float = 0.0
    bytes: int = 0
    pictures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def render(views: Sequence[ArtifactView], *, title: str) -> str:
    """The page.

    Parameters
    ----------
    views : sequence of ArtifactView
        Inputs before readers; parts of one step become one section.
    title : str

    Returns
    -------
    str
        HTML that refers to nothing outside of itself.
    """
    libraries: dict[str, str] = {}
    for view in views:
        libraries |= view.manifest.libraries
    found = results(views)
    return fill_template(
        "template.html.j2",
        title=title,
        sections=sections(views),
        results=found,
        encoders=side_by_side(name for row in found for name in row["values"]),
        published=beside([row["protocol"] for row in found]),
        quarantined=quarantine(views),
        libraries=libraries,
        hosts=sorted({view.manifest.host for view in views}),
        finished=max((view.manifest.created for view in views), default=""),
    )


def fill_template(name: str, **content: Any) -> str:
    """Text of a page; its template lies beside this file and extends ``base.html.j2``."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["size"] = human_size
    return environment.get_template(name).render(**content)


def as_data_uri(picture: Path) -> str:
    """A JPEG file as the source of an image element."""
    return f"data:image/jpeg;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def sections(views: Sequence[ArtifactView]) -> list[Section]:
    """One section a step, in the order of the graph."""
    step_of = {view.manifest.key: view.manifest.step for view in views}
    found: dict[str, Section] = {}
    for view in views:
        manifest = view.manifest
        section = found.setdefault(
            manifest.step,
            Section(
                step=manifest.step,
                stage=manifest.stage,
                version=manifest.stage_version,
                parameters=dict(manifest.parameters),
                inputs={
                    role: sorted({step_of[key] for key in keys})
                    for role, keys in manifest.inputs.items()
                },
            ),
        )
        section.keys.append(manifest.key)
        section.videos += len(manifest.items)
        section.quarantined += len(manifest.quarantined)
        section.seconds += manifest.seconds
        section.bytes += manifest.bytes
        section.notes += manifest.notes
        if len(section.pictures) < _PICTURES_PER_STEP and (picture := view.preview) is not None:
            section.pictures.append(as_data_uri(picture))
    return list(found.values())


def results(views: Sequence[ArtifactView]) -> list[dict[str, Any]]:
    """Figures with the encoders side by side, and what was published of the same."""
    by_key = {view.manifest.key: view.manifest for view in views}
    table: dict[tuple[str, ...], dict[str, Any]] = {}
    for view in views:
        if view.manifest.noun != Metrics.name:
            continue
        origin = origin_of(view, by_key)
        for row in Metrics.open(view.folder).rows:
            place: tuple[str, ...] = (
                origin.dataset,
                row.protocol,
                row.preset,
                row.split,
                row.metric,
            )
            if row.encoder in table.get(place, {}).get("values", {}):
                place = (view.manifest.step, *place)  # two encoders of one kind: a line each
            line = table.setdefault(
                place,
                {
                    "protocol": row.protocol,
                    "preset": row.preset,
                    "split": row.split,
                    "metric": row.metric,
                    "n": row.n,
                    "unit": row.unit,
                    "values": {},
                    "intervals": {},
                    "published": origin.matching(row.protocol, row.metric),
                },
            )
            line["values"][row.encoder] = row.value
            if row.low is not None and row.high is not None:
                line["intervals"][row.encoder] = (row.low, row.high)
    return list(table.values())


def quarantine(views: Sequence[ArtifactView]) -> list[QuarantineRow]:
    """Every rejected video with its cause."""
    return [row for view in views for row in view.manifest.quarantined]


def human_size(count: float) -> str:
    """Bytes in a unit people read."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
