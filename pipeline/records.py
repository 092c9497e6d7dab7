"""What the last run of a recipe planned: the ground for saying *why* something will run."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.expand import Graph
from pipeline.keys import parameters_of
from pipeline.store import Store, write_atomically


@dataclass(frozen=True)
class PastNode:
    """A node of an earlier run."""

    key: str
    inputs: Mapping[str, list[str]]
    videos: int


@dataclass(frozen=True)
class PastStep:
    """A step of an earlier run: its parameters and its nodes by part (``*`` if it has none)."""

    stage: str
    version: int
    parameters: Mapping[str, Any]
    parts: Mapping[str, PastNode]


def write_record(
    store: Store, recipe: str, graph: Graph, *, only: Collection[str] | None = None
) -> None:
    """Remember the graph as the last run of `recipe`; the roots that `gc` keeps.

    With `only`, the names of steps, the others stay as an earlier run left them.
    """
    path = _path(store, recipe)
    old = json.loads(path.read_text())["steps"] if only is not None and path.exists() else {}
    steps: dict[str, Any] = dict(old)
    for name in graph.steps if only is None else only:
        steps.pop(name, None)
    for node in graph.nodes:
        if only is not None and node.step not in only:
            continue
        step = steps.setdefault(
            node.step,
            {
                "stage": node.stage.name,
                "version": node.stage.version,
                "parameters": parameters_of(node.stage),
                "parts": {},
            },
        )
        step["parts"][node.part or "*"] = {
            "key": node.key,
            "inputs": node.input_keys(),
            "videos": len(node.video_ids),
        }
    write_atomically(path, json.dumps({"recipe": recipe, "steps": steps}))


def read_record(store: Store, recipe: str) -> dict[str, PastStep]:
    """Steps of the last run of `recipe` by name; empty if it never ran here."""
    path = _path(store, recipe)
    if not path.exists():
        return {}
    steps = json.loads(path.read_text())["steps"]
    return {
        name: PastStep(
            **{k: v for k, v in step.items() if k != "parts"},
            parts={part: PastNode(**node) for part, node in step["parts"].items()},
        )
        for name, step in steps.items()
    }


def recorded_keys(store: Store) -> Iterator[str]:
    """Keys that the last run of any recipe refers to."""
    for path in sorted((store.root / "runs").glob("*.json")):
        for step in json.loads(path.read_text())["steps"].values():
            for node in step["parts"].values():
                yield node["key"]


def _path(store: Store, recipe: str) -> Any:
    return store.root / "runs" / f"{recipe}.json"
