"""A recipe for tests of commands: real videos through few and quick stages."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.graph import Step
from stages.decode.decode import Decode
from stages.propose.slic import Slic
from stages.report.report import Report
from stages.shard.shard import MakeShard
from stages.sources.folder import Folder


def recipe() -> Sequence[Step]:
    """Frames, superpixel proposals, shards, and a report."""
    frames = Decode().of(videos=Folder().of())
    return [Report().of(about=[Slic().of(frames=frames), MakeShard().of(frames=frames)])]
