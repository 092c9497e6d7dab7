"""A misdeclared stage fails when its class is defined, with a message that names the fix."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from probe_stages import Count, Grow, Probe

from pipeline.stage import GatherStage, VideoStage
from stages.pretrain.pretrain import Pretrain
from stages.sources.folder import Folder
from storage_schemas.boxes import Boxes
from storage_schemas.errors import ParameterError, StageDefinitionError
from storage_schemas.frames import Frames
from storage_schemas.labels import Labels


def no_identity() -> None:
    class Bad(VideoStage):
        def process(self, *, frames: Frames) -> Boxes: ...


def no_process() -> None:
    class Bad(VideoStage, name="bad", version=1):
        pass


def positional() -> None:
    class Bad(VideoStage, name="bad", version=1):
        def process(self, frames: Frames) -> Boxes: ...


def no_annotation() -> None:
    class Bad(VideoStage, name="bad", version=1):
        def process(self, *, frames) -> Boxes: ...  # type: ignore[no-untyped-def]


def not_a_noun() -> None:
    class Bad(VideoStage, name="bad", version=1):
        def process(self, *, frames: int) -> Boxes: ...


def wrong_output() -> None:
    class Bad(VideoStage, name="bad", version=1):
        def process(self, *, frames: Frames) -> Labels: ...


def gather_of_one() -> None:
    class Bad(GatherStage, name="bad", version=1):
        def run(self, *, frames: Frames) -> Labels: ...


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (no_identity, r'needs an identity: class Bad\(VideoStage, name="...", version=1\)'),
        (no_process, r"must define process\(self, \*, ...\)"),
        (positional, r"make 'frames' keyword-only, put `\*` after self"),
        (no_annotation, "annotate 'frames' with a noun"),
        (not_a_noun, "is no noun of storage_schemas"),
        (wrong_output, "annotate it with the ItemNoun it writes"),
        (gather_of_one, r"write `frames: Items\[Frames\]`"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_misdeclared_stage(define: Callable[[], None], message: str) -> None:
    with pytest.raises(StageDefinitionError, match=message):
        define()


def test_roles_come_from_the_signature() -> None:
    assert {name: role.many for name, role in Count.roles.items()} == {"boxes": True}
    assert Grow.output is Boxes
    assert Pretrain.roles["tubes"].optional


def test_binding_checks_names_and_nouns() -> None:
    videos = Folder().of()
    with pytest.raises(ParameterError, match=r"no input 'video'; did you mean 'videos'\?"):
        Probe().of(video=videos)
    with pytest.raises(ParameterError, match="needs its input 'videos'"):
        Probe().of()
    with pytest.raises(ParameterError, match="must be 'boxes', but step 'folder' gives 'videos'"):
        Grow().of(boxes=videos)


def test_method_decides_what_is_read() -> None:
    assert Pretrain().reads() == {"shards", "split", "trajectories"}
