"""The plan: what is cached, what will run, and why, with counts and an estimate."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.allowed import read_allowed
from pipeline.expand import Graph, Node
from pipeline.keys import parameters_of
from pipeline.records import PastNode, PastStep
from pipeline.stage import Stage
from pipeline.store import Store
from pipeline.wording import counted
from storage_schemas.errors import ParameterError, StoreError
from storage_schemas.manifest import Manifest

Samples = tuple[Sequence[Manifest], Sequence[Manifest]]

_SAMPLES = 8  # artifacts that an estimate is the mean of
_LOOKED_AT = 64  # for these: manifests of other ages than the newest


@dataclass(frozen=True)
class Entry:
    """One node of a plan.

    Parameters
    ----------
    node : Node
    action : ``cached`` or ``run``
    reason : str
        Why it runs; empty if it does not.
    seconds : float or None
        What as many videos took with the same parameters; None where it never ran with these.
    seconds_with_others : float or None
        Then, what they took with other parameters.
    """

    node: Node
    action: Literal["cached", "run"]
    reason: str = ""
    seconds: float | None = None
    seconds_with_others: float | None = None


@dataclass(frozen=True)
class Plan:
    """Entries in the order of the graph; nodes that nothing asks for are absent.

    `allowed` names videos whose rejection is accepted (`pipeline.allowed`).
    """

    graph: Graph
    entries: Sequence[Entry]
    allowed: Collection[str] = ()

    @property
    def to_run(self) -> list[Entry]:
        """What the store lacks."""
        return [entry for entry in self.entries if entry.action == "run"]


def make_plan(
    graph: Graph,
    store: Store,
    past: Mapping[str, PastStep],
    *,
    only: str | None = None,
    from_step: str | None = None,
    force: str | None = None,
) -> Plan:
    """Compare the graph with the store.

    Parameters
    ----------
    graph : Graph
    store : Store
    past : mapping of step name -> PastStep
        The last run of the same recipe, from `pipeline.records.read_record`.
    only : str, optional
        Run just this step; what it reads must be in the store.
    from_step : str, optional
        Compute this step and all that rests on it anew.
    force : str, optional
        Compute just this step anew, keep the rest.

    Raises
    ------
    ParameterError
        If a step is unknown.
    StoreError
        If `only` is asked for and its inputs are not in the store.
    """
    forced = _forced(graph, from_step=from_step, force=force)
    chosen = set(graph.select(only)) if only else None
    videos_then = {n.key: n.videos for step in past.values() for n in step.parts.values()}
    samples: dict[int, Samples] = {}  # by the id of a stage, which its parts share
    nodes = [node for node in graph.nodes if chosen is None or node.step in chosen]
    damages = store.damages([node.key for node in nodes])
    entries = []
    for node in nodes:
        damage = damages[node.key]
        if damage is None and node.key not in forced:
            entries.append(Entry(node, "cached"))
            continue
        if id(node.stage) not in samples:
            samples[id(node.stage)] = find_samples(store, node.stage)
        same, others = samples[id(node.stage)]
        videos = len(node.video_ids)
        entries.append(
            Entry(
                node,
                "run",
                reason=_reason(node, graph, store, past, damage, forced),
                seconds=expected_seconds(same, videos, videos_then),
                seconds_with_others=expected_seconds(others, videos, videos_then),
            )
        )
    if chosen is not None:
        _require_inputs(entries, store, str(only))
    return Plan(graph=graph, entries=entries, allowed=read_allowed(store))


def _forced(graph: Graph, *, from_step: str | None, force: str | None) -> set[str]:
    forced: set[str] = set()
    for name in graph.select(force) if force else []:
        forced |= {node.key for node in graph.of_step(name)}
    if from_step:
        names = set(graph.select(from_step))
        downstream: set[str] = set()
        for node in graph.nodes:  # inputs come before readers
            if node.step in names or any(
                k in downstream for ks in node.input_keys().values() for k in ks
            ):
                downstream.add(node.key)
        forced |= downstream
    return forced


def _require_inputs(entries: Sequence[Entry], store: Store, only: str) -> None:
    upstream = {
        node.key: node
        for entry in entries
        if entry.action == "run"
        for nodes in entry.node.inputs.values()
        for node in nodes
    }
    damages = store.damages(list(upstream))
    missing = [node.label for key, node in upstream.items() if damages[key]]
    if missing:
        raise StoreError(
            f"--only {only} needs {missing[0]!r} ({counted(len(missing), 'input')} in all), which "
            f"the store lacks; leave out --only, so that what it rests on is computed first"
        )


def _reason(
    node: Node,
    graph: Graph,
    store: Store,
    past: Mapping[str, PastStep],
    damage: str | None,
    forced: Collection[str],
) -> str:
    if damage is None and node.key in forced:
        return "forced"
    if damage != "absent":
        return f"output missing: {damage}"
    resumed = store.finished(node.key)
    step = past.get(node.step)
    old = step.parts.get(node.part or "*") if step else None
    if step is None:
        reason = "first run"
    elif old is None:
        reason = counted(len(node.video_ids), "new video")
    elif old.key == node.key:
        reason = "interrupted before" if resumed else "output missing"
    else:
        reason = "; ".join(_differences(node, graph, step, old)) or "first run"
    return f"{reason} ({counted(resumed, 'video')} done already)" if resumed else reason


def _differences(node: Node, graph: Graph, step: PastStep, old: PastNode) -> list[str]:
    said = []
    if step.stage != node.stage.name:
        return [f"stage {step.stage} -> {node.stage.name}"]
    if step.version != node.stage.version:
        said.append(f"{node.step} version {step.version} -> {node.stage.version}")
    said += [
        f"{node.step}.{path} {old_value} -> {new_value}"
        for path, old_value, new_value in changed_values(step.parameters, parameters_of(node.stage))
        if node.literal is None
    ]
    if node.literal is not None:
        difference = len(node.video_ids) - old.videos
        return [
            counted(difference, 'new video') if difference > 0
            else f"{counted(-difference, 'video')} removed" if difference < 0
            else "content changed"
        ]  # fmt: skip
    for role, nodes in node.inputs.items():
        before = set(old.inputs.get(role, ()))
        fresh = [n for n in nodes if n.key not in before]
        if fresh and len(nodes) > len(before) and len(fresh) < len(nodes):
            name = fresh[0].step  # one is enough: the others of this role have the same videos
            count = sum(len(n.video_ids) for n in fresh if n.step == name)
            said.append(f"{counted(count, 'new video')} in {name}")
        elif fresh or len(nodes) != len(before):
            said.append(f"upstream {(fresh or nodes)[0].step} changed")
    return said


def changed_values(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    """Dotted path, old and new value of everything that differs."""
    found = []
    for name in [*new, *(n for n in old if n not in new)]:
        before, after = old.get(name, "unset"), new.get(name, "unset")
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += changed_values(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append((f"{prefix}{name}", before, after))
    return found


def find_samples(store: Store, stage: Stage) -> Samples:
    """Artifacts with the same parameters; if there is none, those with others.

    They are the newest, wherever they are looked for: among the newest of all, then spread over
    all ages, so that a large store costs no more.
    """
    parameters = parameters_of(stage)
    keys = list(store.keys(stage.name))[::-1]
    spread = keys[_SAMPLES :: -(-len(keys) // _LOOKED_AT) or 1]
    same: list[Manifest] = []
    others: list[Manifest] = []
    looked_at = [*keys[:_SAMPLES], *spread]
    for start in range(0, len(looked_at), _SAMPLES):
        if len(same) >= _SAMPLES:
            break
        with suppress(StoreError, ParameterError):
            for manifest in store.read_manifests(looked_at[start : start + _SAMPLES]):
                (same if manifest.parameters == parameters else others).append(manifest)
    return same[:_SAMPLES], [] if same else others[:_SAMPLES]


def expected_seconds(
    samples: Sequence[Manifest], videos: int, videos_then: Mapping[str, int]
) -> float | None:
    """Seconds for a number of videos, in proportion to what artifacts took; None without any.

    An artifact that is no part does not say how many videos it was made of. `videos_then` does,
    by key, of the last run; of an earlier one the seconds are taken as they were.
    """
    count = {
        m.key: videos_then.get(m.key, 0) if m.part is None else len(m.items) + len(m.quarantined)
        for m in samples
    }
    known = [m for m in samples if count[m.key]]
    if known:
        return videos * sum(m.seconds for m in known) / sum(count[m.key] for m in known)
    return sum(m.seconds for m in samples) / len(samples) if samples else None
