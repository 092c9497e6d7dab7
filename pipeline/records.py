"""Records of runs: which artifacts a run was about, by step and part.

::

    runs/<recipe>.json           the last run: why something will run, and what `gc` keeps
    runs/<recipe>/<number>.json  earlier runs of it, the newest `KEPT`, to compare with
    pins/<name>.json             runs that `gc` keeps until they are unpinned
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import PurePath
from typing import Any
from urllib.parse import quote, unquote

from pipeline.expand import Graph
from pipeline.keys import parameters_of
from pipeline.store import Store
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
    name = _name(recipe)
    last = store.documents.read(name)
    before = json.loads(last) if last is not None else {"steps": {}}
    after = {
        "recipe": recipe,
        "settings": list(settings),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "steps": _steps(graph, only, dict(before["steps"]) if only is not None else {}),
    }
    if last is not None and before["steps"] and _keys(before) != _keys(after):
        _keep(store, recipe, last)
    store.documents.write(name, json.dumps(after))


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


def _keep(store: Store, recipe: str, text: str) -> None:
    """Copy a record to the earlier ones, and forget the oldest."""
    earlier = _earlier(store, recipe)
    number = int(PurePath(earlier[-1]).stem) + 1 if earlier else 1
    store.documents.write(f"{_folder(recipe)}/{number:06d}.json", text)
    for old in earlier[: max(0, len(earlier) + 1 - KEPT)]:
        store.documents.remove(old)


def read_record(store: Store, recipe: str) -> dict[str, PastStep]:
    """Steps of the last run of `recipe` by name; empty if it never ran here."""
    text = store.documents.read(_name(recipe))
    return {} if text is None else dict(_parse(text, recipe).steps)


def records(store: Store) -> list[Record]:
    """Every run that is remembered: last ones, newest earlier ones first, then pinned ones."""
    names: dict[str, str] = {}
    for last in _last(store):
        recipe = unquote(PurePath(last).stem)
        names[last] = recipe
        earlier = reversed(_earlier(store, recipe))
        names |= {old: f"{recipe}~{n}" for n, old in enumerate(earlier, 1)}
    return [*_read_all(store, names), *pins(store)]


def find_record(store: Store, name: str) -> Record | None:
    """The run of this name; None if there is none. A pin hides a recipe of the same name."""
    text = store.documents.read(_pin_name(name))
    recipe, tilde, number = name.rpartition("~")
    if text is None and not (tilde and number.isdigit() and int(number)):
        text = store.documents.read(_name(name))
    elif text is None:
        earlier = _earlier(store, recipe)
        text = store.documents.read(earlier[-int(number)]) if int(number) <= len(earlier) else None
    return None if text is None else _parse(text, name)


def recorded_keys(store: Store) -> Iterator[str]:
    """Keys that the last run of any recipe, or a pinned run, refers to."""
    for text in store.documents.read_all([*_last(store), *_pinned(store)]).values():
        yield from _keys(json.loads(text))


def pin(store: Store, record: Record, name: str) -> None:
    """Have `gc` keep a run, with all it rests on, under a name of its own.

    Raises
    ------
    StoreError
        If another run is pinned under this name.
    """
    before = store.documents.read(_pin_name(name))
    if before is not None and set(_parse(before, name).keys()) != set(record.keys()):
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
    store.documents.write(_pin_name(name), json.dumps(content))


def unpin(store: Store, name: str) -> None:
    """Let `gc` remove a run that was pinned; raises `StoreError` if none is called so."""
    if not store.documents.remove(_pin_name(name)):
        hint = suggest(name, [record.name for record in pins(store)])
        raise StoreError(f"no run is pinned as {name!r}; {hint}")


def pins(store: Store) -> list[Record]:
    """Pinned runs by name."""
    return list(_read_all(store, {name: PurePath(name).stem for name in _pinned(store)}))


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


def _read_all(store: Store, names: Mapping[str, str]) -> Iterator[Record]:
    """Records by the names of their documents; `names` says what each is called."""
    for document, text in store.documents.read_all(list(names)).items():
        yield _parse(text, names[document])


def _parse(text: str, name: str) -> Record:
    content = json.loads(text)
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


def _last(store: Store) -> list[str]:
    return [name for name in store.documents.names("runs") if name.count("/") == 1]


def _earlier(store: Store, recipe: str) -> list[str]:
    """Documents of earlier runs, the oldest first."""
    names = store.documents.names(_folder(recipe))
    return [name for name in names if PurePath(name).stem.isdigit()]


def _pinned(store: Store) -> list[str]:
    return store.documents.names("pins")


def _folder(recipe: str) -> str:
    return f"runs/{_file_name(recipe)}"


def _name(recipe: str) -> str:
    return f"{_folder(recipe)}.json"


def _pin_name(name: str) -> str:
    return f"pins/{_file_name(name)}.json"


def _file_name(name: str) -> str:
    """Without slashes, and readable: settings are part of some names."""
    quoted = quote(name, safe="@=,+~")
    if len(quoted) <= _LONGEST_NAME:
        return quoted
    return f"{quoted[:_LONGEST_NAME]}-{sha256(name.encode()).hexdigest()[:12]}"
