"""From steps to nodes: scan the sources, cut them into parts, compute every key.

A node is a stage on one part (or on everything, for gather stages) with its key. Nothing
has run yet; planning, running and explaining all start from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.digests import Digests
from pipeline.graph import Step, check_names, walk
from pipeline.keys import artifact_key, digest_key
from pipeline.ledger import Ledger
from pipeline.source import Listing, Source, SourceLabels, SourceSplit
from pipeline.stage import Stage, VideoStage
from pipeline.wording import suggest
from storage_schemas.errors import ParameterError, TubeletError
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.noun import Noun
from storage_schemas.videos import UNREADABLE, VideoFile


@dataclass(frozen=True, eq=False)
class Node:
    """One unit of work with a key.

    Parameters
    ----------
    step, part : str, str or None
        The step's name; the part of the data set, None for gather stages.
    stage : Stage
    inputs : mapping of role -> nodes
        Only roles that the stage's parameters really read.
    key : str
    video_ids : tuple of str
        Videos this node is about, as far as the sources know (fewer may come out).
    literal : value or None
        Content that is known already (a source's list, labels): written, not computed.
    """

    step: str
    part: str | None
    stage: Stage
    inputs: Mapping[str, tuple[Node, ...]]
    key: str
    video_ids: tuple[str, ...]
    literal: Sequence[VideoFile] | Labels | None = None

    @property
    def label(self) -> str:
        """How a person recognises it: ``decode · part 0003``."""
        return self.step if self.part is None else f"{self.step} · part {self.part}"

    def input_keys(self) -> dict[str, list[str]]:
        """Role -> keys."""
        return {role: [node.key for node in nodes] for role, nodes in self.inputs.items()}

    def alone(self) -> Node:
        """The node without the graph behind it: what another process needs to run it.

        Of what it reads the keys are left, and of sources what tells where their files lie; which
        videos there really are stands in the manifests.
        """
        inputs = {role: tuple(map(_cut, nodes)) for role, nodes in self.inputs.items()}
        return replace(self, inputs=inputs, video_ids=())

    def __repr__(self) -> str:
        return f"Node({self.label!r}, {self.key})"


def _cut(node: Node) -> Node:
    if not isinstance(node.stage, Source):
        return replace(node, inputs={}, video_ids=(), literal=None)
    return replace(node, inputs={r: tuple(map(_cut, ns)) for r, ns in node.inputs.items()})


@dataclass(frozen=True)
class Graph:
    """All nodes, inputs before readers, and what the scans want the user to know."""

    nodes: Sequence[Node]
    targets: Sequence[Node]
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def of_step(self, name: str) -> list[Node]:
        """Nodes of one step."""
        return [node for node in self.nodes if node.step == name]

    @property
    def steps(self) -> list[str]:
        """Names of the steps, inputs before readers."""
        return list(dict.fromkeys(node.step for node in self.nodes))

    def select(self, names: str) -> list[str]:
        """Step names that a user's word means: a step's name, else a stage's name.

        Raises
        ------
        ParameterError
            If no step or stage is called so.
        """
        found = [s for s in self.steps if s == names] or list(
            dict.fromkeys(n.step for n in self.nodes if n.stage.name == names)
        )
        if not found:
            known = list(dict.fromkeys([*self.steps, *(n.stage.name for n in self.nodes)]))
            raise ParameterError(
                f"this recipe has no step or stage {names!r}; {suggest(names, known)}"
            )
        return found


def expand(targets: Sequence[Step], *, ledger: Ledger, digests: Digests) -> Graph:
    """Scan, cut into parts, compute keys.

    Raises
    ------
    SourceError
        If a source is unusable.
    ParameterError
        If two steps share a name, or parts of different sources are mixed.
    """
    check_names(targets)
    made: dict[int, list[Node]] = {}
    listings: dict[int, Listing] = {}
    notes: dict[str, list[str]] = {}
    for step in walk(targets):
        try:
            if isinstance(step.stage, Source):
                listing, said = _scan(step, made, ledger=ledger, digests=digests)
                listings[id(step)] = listing
                notes[step.name] = said
                made[id(step)] = _source_nodes(step, made, listing, ledger)
            elif isinstance(step.stage, SourceLabels | SourceSplit):
                made[id(step)] = _labels_nodes(step, listings)
            elif isinstance(step.stage, VideoStage):
                made[id(step)] = _part_nodes(step, made)
            else:
                made[id(step)] = [_gather_node(step, made)]
        except TubeletError as error:
            error.stage = error.stage or step.name
            raise
    for target in targets:
        if not made[id(target)] and isinstance(target.stage, SourceLabels):
            raise _no_labels(target)
    nodes = [node for step in walk(targets) for node in made[id(step)]]
    return Graph(
        nodes=nodes,
        targets=[node for target in targets for node in made[id(target)]],
        notes=notes,
    )


def _scan(
    step: Step, made: Mapping[int, list[Node]], *, ledger: Ledger, digests: Digests
) -> tuple[Listing, list[str]]:
    assert isinstance(step.stage, Source)
    dataset = None
    if "dataset" in step.inputs:
        (upstream,) = step.inputs["dataset"]
        dataset = (upstream.stage, made[id(upstream)][0].key)
    listing = step.stage.scan(digest=digests, dataset=dataset)
    # Of exact duplicates the one that came first is kept, so that a later copy, whatever
    # its name, never takes a video's place.
    rank = ledger.order()
    kept: dict[str, VideoFile] = {}
    duplicates: list[tuple[str, str]] = []
    for video in sorted(listing.videos, key=lambda v: rank.get(v.video_id, len(rank))):
        if video.digest.startswith(UNREADABLE):
            kept[video.video_id] = video
        elif video.digest in kept:
            duplicates.append((video.video_id, kept[video.digest].video_id))
        else:
            kept[video.digest] = video
    said = list(listing.notes)
    if duplicates:
        said.append(
            f"{len(duplicates)} exact duplicates are left out: "
            + ", ".join(f"{copy} = {original}" for copy, original in duplicates[:5])
            + (", …" if len(duplicates) > 5 else "")
        )
    chosen = {video.video_id for video in kept.values()}
    videos = [video for video in listing.videos if video.video_id in chosen]
    return Listing(videos=videos, labels=listing.labels, notes=said), said


def _source_nodes(
    step: Step, made: Mapping[int, list[Node]], listing: Listing, ledger: Ledger
) -> list[Node]:
    by_id = {video.video_id: video for video in listing.videos}
    inputs = {role: tuple(made[id(steps[0])]) for role, steps in step.inputs.items()}
    nodes = []
    for part, video_ids in ledger.assign(list(by_id)).items():
        videos = [by_id[video_id] for video_id in video_ids]
        content = {
            "schema": [VideoFile.name, VideoFile.version],
            "videos": [[video.video_id, video.digest] for video in videos],
        }
        nodes.append(
            Node(
                step=step.name,
                part=part,
                stage=step.stage,
                inputs=inputs,
                key=digest_key(VideoFile.name, content),
                video_ids=tuple(video_ids),
                literal=tuple(videos),
            )
        )
    return nodes


def _labels_nodes(step: Step, listings: Mapping[int, Listing]) -> list[Node]:
    """The labels or the splits; no labels where the source knows none, all ``train`` for splits."""
    (source,) = step.inputs["source"]
    listing = listings[id(source)]
    if listing.labels is not None:
        kept = {video.video_id for video in listing.videos}
        rows = [row for row in listing.labels if row.video_id in kept]
    elif isinstance(step.stage, SourceSplit):
        rows = [LabelRow(video.video_id, "", "train") for video in listing.videos]
    else:
        return []
    if isinstance(step.stage, SourceSplit):
        rows = [replace(row, label="") for row in rows]
    labels = Labels(rows)
    content = {
        "schema": [Labels.name, Labels.version],
        "rows": [[row.video_id, row.label, row.split] for row in labels.rows],
    }
    return [
        Node(
            step=step.name,
            part=None,
            stage=step.stage,
            inputs={},
            key=digest_key(step.stage.name, content),
            video_ids=(),
            literal=labels,
        )
    ]


def _no_labels(step: Step) -> ParameterError:
    (source,) = step.inputs["source"]
    return ParameterError(
        f"source {source.name!r} knows no labels, so {step.name!r} cannot be made; use a labelled "
        "source such as ucf101, a folder with --set folder.labels=folders (or a CSV file), or a "
        "recipe without evaluation"
    )


def _bound(step: Step, made: Mapping[int, list[Node]]) -> dict[str, list[Node]]:
    """Nodes of each role that is read; an optional one whose source has no labels is left out."""
    reads = step.stage.reads()
    bound = {}
    for role, steps in step.inputs.items():
        if role not in reads:
            continue
        nodes = [node for upstream in steps for node in made[id(upstream)]]
        if nodes or not all(isinstance(upstream.stage, SourceLabels) for upstream in steps):
            bound[role] = nodes
        elif not step.stage.roles[role].optional:
            raise _no_labels(steps[0])
    return bound


def _part_nodes(step: Step, made: Mapping[int, list[Node]]) -> list[Node]:
    bound = _bound(step, made)
    by_part: dict[str, dict[str, Node]] = {}
    for role, nodes in bound.items():
        for node in nodes:
            if node.part is None or role in by_part.setdefault(node.part, {}):
                raise ParameterError(
                    f"input {role!r} of step {step.name!r} must be one data set in parts; "
                    f"{node.step!r} is not"
                )
            by_part[node.part][role] = node
    nodes = []
    for part, inputs in sorted(by_part.items()):
        if set(inputs) != set(bound):
            continue  # another input has no video of this part left
        first = next(iter(inputs.values()))
        others = [set(node.video_ids) for node in inputs.values()]
        nodes.append(
            Node(
                step=step.name,
                part=part,
                stage=step.stage,
                inputs={role: (node,) for role, node in inputs.items()},
                key=artifact_key(step.stage, {role: [n.key] for role, n in inputs.items()}),
                video_ids=tuple(v for v in first.video_ids if all(v in ids for ids in others)),
            )
        )
    return nodes


def _gather_node(step: Step, made: Mapping[int, list[Node]]) -> Node:
    bound = _bound(step, made)
    for role, nodes in bound.items():
        if not step.stage.roles[role].many and len(nodes) != 1:
            raise ParameterError(
                f"input {role!r} of step {step.name!r} takes one artifact, not {len(nodes)}"
            )
    videos = dict.fromkeys(
        video_id for nodes in bound.values() for node in nodes for video_id in node.video_ids
    )
    return Node(
        step=step.name,
        part=None,
        stage=step.stage,
        inputs={role: tuple(nodes) for role, nodes in bound.items()},
        key=artifact_key(step.stage, {r: [n.key for n in ns] for r, ns in bound.items()}),
        video_ids=tuple(videos),
    )


def noun_of(node: Node) -> type[Noun]:
    """Noun that the node's artifact holds."""
    return node.stage.output


def locations(node: Node, folders: Mapping[str, Path]) -> dict[str, str | Path]:
    """Where the files of a source node lie now; `folders` holds generated data sets by key."""
    assert isinstance(node.stage, Source)
    assert isinstance(node.literal, tuple)
    dataset = None
    if "dataset" in node.inputs:
        dataset = folders[node.inputs["dataset"][0].key]
    return {video.video_id: node.stage.locate(video, dataset) for video in node.literal}
