"""What a run leaves in Prefect: a table and a picture a step, a summary, an event.

A step has one table and one contact sheet, however many parts it has: ten thousand rows or
pictures would help nobody, and Prefect keeps them in its database.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_table_artifact,
)
from prefect.events import emit_event

from pipeline.run import Result
from pipeline.store import Store
from storage_schemas.errors import TooManyFailures
from storage_schemas.manifest import PREVIEW_NAME, Manifest
from storage_schemas.report import REPORT_NAME
from workflows import server

QUARANTINE_EVENT = "tubelet.quarantine.exceeded"
_REJECTED_SHOWN = 50


def publish_step(step: str, keys: Sequence[str], result: Result, store: Store) -> None:
    """Table and contact sheet of a step of which something was computed."""
    for key in keys:
        if key in result.manifests and REPORT_NAME in result.manifests[key].files:
            _publish_link(step, key, store)
    computed = [key for key in keys if result.status.get(key) == "computed"]
    if not computed:
        return
    manifests = [result.manifests[key] for key in keys if key in result.manifests]
    newest = result.manifests[computed[-1]]
    rejected = [row for manifest in manifests for row in manifest.quarantined]
    rows: list[tuple[str, Any]] = [
        *_figures(keys, result).items(),
        ("artifact" if len(keys) == 1 else "last artifact", newest.key),
        *((f"parameter {name}", str(value)) for name, value in newest.parameters.items()),
        *((f"quarantined {row.video_id}", row.message) for row in rejected[:_REJECTED_SHOWN]),
    ]
    create_table_artifact(
        key=f"{slug(step)}-table",
        table=[{"what": what, "value": value} for what, value in rows],
        description=f"{step}: {store.place(newest.key).rpartition('/')[0]}",
    )
    for key in reversed(computed):
        preview = store.file(key, PREVIEW_NAME)
        if preview is not None:
            _publish_picture(step, result.manifests[key], preview.read_bytes())
            break


def _publish_link(step: str, key: str, store: Store) -> None:
    create_link_artifact(
        key=f"{slug(step)}-link",
        link=server.report_url(key),
        link_text="Open the report",
        description="Served by `tubelet ui` and `tubelet serve`; the file is "
        f"`{store.place(key, REPORT_NAME)}`",
    )


def _publish_picture(step: str, manifest: Manifest, jpeg: bytes) -> None:
    part = f", part {manifest.part}" if manifest.part else ""
    create_image_artifact(
        key=f"{slug(step)}-preview",
        image_url=f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}",
        description=f"What {step} made ({manifest.key}{part})",
    )


def publish_run(recipe: str, result: Result) -> None:
    """The run's table: a row a step, with what is new, reused and rejected, and what it cost."""
    steps: dict[str, list[str]] = {}
    reasons: dict[str, dict[str, None]] = {}
    for entry in result.plan.entries:
        steps.setdefault(entry.node.step, []).append(entry.node.key)
        if entry.reason:
            reasons.setdefault(entry.node.step, {})[entry.reason] = None
    create_table_artifact(
        key=f"{slug(recipe)}-run",
        table=[
            {"step": step, **_figures(keys, result), "why": "; ".join(reasons.get(step, {}))}
            for step, keys in steps.items()
        ],
        description=summary(result),
    )


def _figures(keys: Sequence[str], result: Result) -> dict[str, Any]:
    """Counts and costs of the artifacts of one step."""
    states = [result.status.get(key, "blocked") for key in keys]
    known = {key: result.manifests[key] for key in keys if key in result.manifests}
    new = [manifest for key, manifest in known.items() if result.status[key] == "computed"]
    reused = [manifest for key, manifest in known.items() if result.status[key] == "cached"]
    return {
        **{state: states.count(state) for state in ("computed", "cached", "failed", "blocked")},
        "new videos": sum(len(manifest.items) for manifest in new),
        "reused videos": sum(len(manifest.items) for manifest in reused),
        "quarantined": sum(len(manifest.quarantined) for manifest in known.values()),
        "rows": sum(file.rows for manifest in known.values() for file in manifest.files.values()),
        "bytes": sum(manifest.bytes for manifest in new),
        "seconds": round(sum(manifest.seconds for manifest in new), 1),
    }


def tell_quarantine(recipe: str, result: Result, error: TooManyFailures) -> None:
    """An event that an automation can act on, beside the state of the run."""
    emit_event(
        event=QUARANTINE_EVENT,
        resource={
            "prefect.resource.id": f"tubelet.recipe.{slug(recipe)}",
            "prefect.resource.name": recipe,
        },
        payload={
            "message": str(error),
            "videos": sorted({row.video_id for row in result.quarantined})[:_REJECTED_SHOWN],
        },
    )


def summary(result: Result) -> str:
    """``7 cached, 3 computed``, and so on."""
    states = list(result.status.values())
    counts = {name: states.count(name) for name in ("cached", "computed", "failed", "blocked")}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def slug(text: str) -> str:
    """Prefect's artifact keys hold lowercase letters, digits and dashes only."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
