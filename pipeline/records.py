"""Records of runs: which artifacts a run was about, by step and part.

::

    runs/<recipe>.json           the last run: why something will run, and what `gc` keeps
    runs/<recipe>/<number>.json  earlier runs of it, the newest `KEPT`, to compare with
    pins/<name>.json             runs that `gc` keeps until they are unpinned
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pipeline.expand import Graph
from pipeline.keys import parameters_of
from pipeline.store import Store, write_atomically
from pipeline.wording import suggest
from storage_schemas.errors import StoreError

KEPT = 20
_LONGEST_NAME = 200


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


@dataclass(frozen=True)
class Record:
    """A run that the store remembers.

    Parameters
    ----------
    name : str
        ``RECIPE`` is its last run, ``RECIPE~1`` the one before, else the name of a pin.
    recipe : str
    settings : sequence of str
        The overrides it was run with.
    created : str
        When it began.
    steps : mapping of step name -> PastStep
    """

    name: str
    recipe: str
    settings: Sequence[str]
    created: str
    steps: Mapping[str, PastStep] = field(repr=False)

    def keys(self) -> list[str]:
        """Keys of all its artifacts, inputs before readers."""
        return [node.key for step in self.steps.values() for node in step.parts.values()]


def write_record(
    store: Store,
    recipe: str,
    graph: Graph,
    *,
    settings: Sequence[str] = (),
    only: Collection[str] | None = None,
) -> None:
    """Remember the graph as the last run of `recipe`; the run before becomes ``RECIPE~1``.

    With `only`, the names of steps, the others stay as an earlier run left them. A run that
    is about the same artifacts as the last one takes its place.
    """
    path = _path(store, recipe)
    before = json.loads(path.read_text()) if path.exists() else {"steps": {}}
    after = {
        "recipe": recipe,
        "settings": list(settings),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "steps": _steps(graph, only, dict(before["steps"]) if only is not None else {}),
    }
    if before["steps"] and _keys(before) != _keys(after):
        _keep(path, path.with_suffix(""))
    write_atomically(path, json.dumps(after))


def _steps(
    graph: Graph, only: Collection[str] | None, steps: dict[str, Any]
) -> dict[str, dict[str, Any]]:
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
    return steps


def _keys(content: Mapping[str, Any]) -> set[str]:
    return {n["key"] for step in content["steps"].values() for n in step["parts"].values()}


def _keep(path: Path, folder: Path) -> None:
    """Copy a record to the earlier ones, and forget the oldest."""
    folder.mkdir(exist_ok=True)
    earlier = _numbered(folder)
    number = int(earlier[-1].stem) + 1 if earlier else 1
    write_atomically(folder / f"{number:06d}.json", path.read_text())
    for old in earlier[: max(0, len(earlier) + 1 - KEPT)]:
        old.unlink(missing_ok=True)


def _numbered(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.stem.isdigit())


def read_record(store: Store, recipe: str) -> dict[str, PastStep]:
    """Steps of the last run of `recipe` by name; empty if it never ran here."""
    path = _path(store, recipe)
    return dict(_read(path, recipe).steps) if path.exists() else {}


def records(store: Store) -> list[Record]:
    """Every run that is remembered: last ones, newest earlier ones first, then pinned ones."""
    found = []
    for path in _last(store):
        recipe = unquote(path.stem)
        found.append(_read(path, recipe))
        earlier = reversed(_numbered(path.with_suffix("")))
        found += [_read(old, f"{recipe}~{n}") for n, old in enumerate(earlier, 1)]
    return found + pins(store)


def find_record(store: Store, name: str) -> Record | None:
    """The run of this name; None if there is none. A pin hides a recipe of the same name."""
    pin = _pin_path(store, name)
    if pin.exists():
        return _read(pin, name)
    recipe, tilde, number = name.rpartition("~")
    if not (tilde and number.isdigit() and int(number)):
        path = _path(store, name)
        return _read(path, name) if path.exists() else None
    earlier = _numbered(_path(store, recipe).with_suffix(""))
    return _read(earlier[-int(number)], name) if int(number) <= len(earlier) else None


def recorded_keys(store: Store) -> Iterator[str]:
    """Keys that the last run of any recipe, or a pinned run, refers to."""
    for path in [*_last(store), *_pinned(store)]:
        yield from _keys(json.loads(path.read_text()))


def pin(store: Store, record: Record, name: str) -> None:
    """Have `gc` keep a run, with all it rests on, under a name of its own.

    Raises
    ------
    StoreError
        If another run is pinned under this name.
    """
    path = _pin_path(store, name)
    if path.exists() and set(_read(path, name).keys()) != set(record.keys()):
        raise StoreError(f"another run is pinned as {name!r}; choose another name, or unpin it")
    content = {
        "name": name,
        "recipe": record.recipe,
        "settings": list(record.settings),
        "created": record.created,
        "steps": {
            step: {**vars(past), "parts": {part: vars(n) for part, n in past.parts.items()}}
            for step, past in record.steps.items()
        },
    }
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, json.dumps(content))


def unpin(store: Store, name: str) -> None:
    """Let `gc` remove a run that was pinned; raises `StoreError` if none is called so."""
    try:
        os.unlink(_pin_path(store, name))
    except FileNotFoundError:
        hint = suggest(name, [record.name for record in pins(store)])
        raise StoreError(f"no run is pinned as {name!r}; {hint}") from None


def pins(store: Store) -> list[Record]:
    """Pinned runs by name."""
    return [_read(path, path.stem) for path in _pinned(store)]


def graph_record(graph: Graph, *, name: str, recipe: str, settings: Sequence[str]) -> Record:
    """A run that was never started, as if it had been."""
    steps = _steps(graph, None, {})
    return Record(
        name=name,
        recipe=recipe,
        settings=list(settings),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        steps=_past(steps),
    )


def _read(path: Path, name: str) -> Record:
    content = json.loads(path.read_text())
    return Record(
        name=content.get("name", name),
        recipe=content.get("recipe", name),
        settings=content.get("settings", []),
        created=content.get("created", ""),
        steps=_past(content["steps"]),
    )


def _past(steps: Mapping[str, Any]) -> dict[str, PastStep]:
    return {
        name: PastStep(
            **{k: v for k, v in step.items() if k != "parts"},
            parts={part: PastNode(**node) for part, node in step["parts"].items()},
        )
        for name, step in steps.items()
    }


def _last(store: Store) -> list[Path]:
    return sorted((store.root / "runs").glob("*.json"))


def _pinned(store: Store) -> list[Path]:
    return sorted((store.root / "pins").glob("*.json"))


def _path(store: Store, recipe: str) -> Path:
    return store.root / "runs" / f"{_file_name(recipe)}.json"


def _pin_path(store: Store, name: str) -> Path:
    return store.root / "pins" / f"{_file_name(name)}.json"


def _file_name(name: str) -> str:
    """Without slashes, and readable: settings are part of some names."""
    quoted = quote(name, safe="@=,+~")
    if len(quoted) <= _LONGEST_NAME:
        return quoted
    return f"{quoted[:_LONGEST_NAME]}-{sha256(name.encode()).hexdigest()[:12]}"
