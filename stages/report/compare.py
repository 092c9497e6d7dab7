"""Runs side by side: what was asked for, and what came out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.report.report import Section, as_data_uri, fill_template, human_size, sections
from storage_schemas.manifest import ArtifactView
from storage_schemas.metrics import Metrics

_PICTURES_PER_STEP = 2

Runs = Mapping[str, Sequence[ArtifactView]]


@dataclass(frozen=True)
class Row:
    """One thing of one step, as text for each run; empty where a run has no such thing."""

    step: str
    what: str
    values: Sequence[str]
    change: str = ""


@dataclass(frozen=True)
class Comparison:
    """What differs between runs.

    Parameters
    ----------
    labels : sequence of str
        The runs, in the order of all values.
    shared, totals : int, sequence of int
        Artifacts that all runs have in common; artifacts of each.
    parameters, versions, counts : sequence of Row
        Only what differs.
    metrics : sequence of Row
        All of them; `change` is the last run less the first.
    pictures : sequence of (title, pictures)
        Of parts that differ, as data URIs; None where a run has no picture.
    """

    labels: Sequence[str]
    shared: int
    totals: Sequence[int]
    parameters: Sequence[Row] = field(default_factory=list)
    versions: Sequence[Row] = field(default_factory=list)
    counts: Sequence[Row] = field(default_factory=list)
    metrics: Sequence[Row] = field(default_factory=list)
    pictures: Sequence[tuple[str, Sequence[str | None]]] = field(default_factory=list)


def compare(runs: Runs, *, pictures: bool = False) -> Comparison:
    """Lay runs side by side.

    Parameters
    ----------
    runs : mapping of label -> sequence of ArtifactView
        Inputs before readers.
    pictures : bool
        Whether to read the stages' pictures as well.
    """
    labels = list(runs)
    keys = [{view.manifest.key for view in views} for views in runs.values()]
    shared = set.intersection(*keys)
    by_step = [{s.step: s for s in sections(views)} for views in runs.values()]
    steps = list(dict.fromkeys(step for found in by_step for step in found))
    changed = [
        step
        for step in steps
        if len({tuple(f[step].keys) if step in f else () for f in by_step}) > 1
    ]
    return Comparison(
        labels=labels,
        shared=len(shared),
        totals=[len(found) for found in keys],
        parameters=list(_differing(changed, by_step, _parameters)),
        versions=[
            *_differing(changed, by_step, lambda section: {"version": str(section.version)}),
            *_software(runs),
        ],
        counts=list(_differing(changed, by_step, _counts, tables=_tables(runs))),
        metrics=_metrics(runs),
        pictures=_pictures(runs, changed) if pictures else [],
    )


def render_comparison(comparison: Comparison) -> str:
    """The page; it refers to nothing outside of itself."""
    title = " and ".join(comparison.labels)
    return fill_template("compare.html.j2", title=title, c=comparison)


def _differing(
    steps: Sequence[str],
    by_step: Sequence[Mapping[str, Section]],
    describe: Any,
    *,
    tables: Sequence[Mapping[str, Mapping[str, int]]] | None = None,
) -> Iterator[Row]:
    for step in steps:
        described = [describe(found[step]) if step in found else {} for found in by_step]
        for i, rows in enumerate(tables or ()):
            described[i] |= {f"rows of {n}": f"{c:,}" for n, c in rows.get(step, {}).items() if c}
        for what in dict.fromkeys(name for one in described for name in one):
            values = [one.get(what, "") for one in described]
            if len(set(values)) > 1:
                yield Row(step, what, values)


def _parameters(section: Section) -> dict[str, str]:
    return {name: str(value) for name, value in _flat(section.parameters)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _counts(section: Section) -> dict[str, str]:
    return {
        "parts": str(len(section.keys)),
        "videos": str(section.videos),
        "quarantined": str(section.quarantined),
        "seconds": f"{section.seconds:.1f}",
        "size": human_size(section.bytes),
    }


def _tables(runs: Runs) -> list[dict[str, dict[str, int]]]:
    """Rows of the files of each step, for each run."""
    found: list[dict[str, dict[str, int]]] = []
    for views in runs.values():
        steps: dict[str, dict[str, int]] = {}
        for manifest in (view.manifest for view in views):
            rows = steps.setdefault(manifest.step, {})
            for name, entry in manifest.files.items():
                rows[name] = rows.get(name, 0) + entry.rows
        found.append(steps)
    return found


def _software(runs: Runs) -> Iterator[Row]:
    """Libraries and code; where a run was computed with several, all are named."""
    described: list[dict[str, dict[str, None]]] = []
    for views in runs.values():
        versions: dict[str, dict[str, None]] = {}
        for manifest in (view.manifest for view in views):
            for name, version in {"code": manifest.code, **manifest.libraries}.items():
                if version:
                    versions.setdefault(name, {})[version] = None
        described.append(versions)
    for name in dict.fromkeys(name for one in described for name in one):
        values = [", ".join(sorted(one.get(name, {}))) for one in described]
        if len(set(values)) > 1:
            yield Row("", name, values)


def _metrics(runs: Runs) -> list[Row]:
    table: dict[tuple[str, ...], dict[str, float]] = {}
    units: dict[tuple[str, ...], str] = {}
    for label, views in runs.items():
        for view in views:
            if view.manifest.noun != Metrics.name:
                continue
            for row in Metrics.open(view.folder).rows:
                name = f"{row.protocol} ({row.preset})" if row.preset else row.protocol
                key = (view.manifest.step, name, row.split, row.metric, row.encoder)
                table.setdefault(key, {})[label] = row.value
                units[key] = row.unit
    rows = []
    for place, values in table.items():
        share = units[place] == "share"
        given = [values[label] for label in runs if label in values]
        difference = given[-1] - given[0]
        change = f"{100 * difference:+.1f}" if share else f"{difference:+.3g}"
        texts = [
            "" if (v := values.get(label)) is None else f"{100 * v:.1f} %" if share else f"{v:.3g}"
            for label in runs
        ]
        rows.append(Row(place[0], ", ".join(place[1:]), texts, change if len(given) > 1 else ""))
    return rows


def _pictures(runs: Runs, steps: Sequence[str]) -> list[tuple[str, list[str | None]]]:
    """The same parts of each run, beside each other."""
    found: dict[tuple[str, str | None], dict[str, ArtifactView]] = {}
    for label, views in runs.items():
        for view in views:
            if view.manifest.step in steps and view.preview is not None:
                found.setdefault((view.manifest.step, view.manifest.part), {})[label] = view
    chosen: dict[str, int] = {}
    pictures = []
    for (step, part), by_label in found.items():
        same = len(by_label) == len(runs) and len({v.manifest.key for v in by_label.values()}) == 1
        if same or chosen.get(step, 0) >= _PICTURES_PER_STEP:
            continue
        chosen[step] = chosen.get(step, 0) + 1
        title = step if part is None else f"{step} · part {part}"
        pictures.append((title, [_picture(by_label.get(label)) for label in runs]))
    return pictures


def _picture(view: ArtifactView | None) -> str | None:
    return None if view is None or view.preview is None else as_data_uri(view.preview)
