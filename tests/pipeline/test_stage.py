"""A misdeclared stage fails when its class is defined, with a message that names the fix."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from probe_stages import Count, Grow, Probe

from pipeline.stage import GatherStage, Stage, VideoStage
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


class Kind(VideoStage, kind=True):
    """What several stages repeat."""

    stride: int = 2

    def process(self, *, frames: Frames) -> Boxes: ...


def no_identity_of_a_kind() -> None:
    class Bad(Kind):
        pass


def no_version() -> None:
    class Bad(Kind, name="bad"):
        pass


def kind_with_a_name() -> None:
    class Bad(VideoStage, name="bad", kind=True):
        pass


def stage_of_no_kind() -> None:
    class Bad(Stage, name="bad", version=1):
        pass


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (no_identity_of_a_kind, r'needs an identity: class Bad\(Kind, name="...", version=1\)'),
        (no_version, r"needs an identity"),
        (kind_with_a_name, "is a kind and has no identity: leave out name and version"),
        (stage_of_no_kind, "a stage is a VideoStage or GatherStage without kind=True"),
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


def test_a_kind_is_no_stage_and_its_stages_inherit() -> None:
    class One(Kind, name="one", version=3):
        pass

    class Two(Kind, name="two", version=1):
        stride: int = 5

    assert not hasattr(Kind, "name")
    assert not hasattr(Kind, "roles")
    assert (One.name, One.version, One().stride) == ("one", 3, 2)
    assert (Two.name, Two().stride) == ("two", 5)
    assert set(One.roles) == {"frames"}
    assert One.output is Boxes


def test_a_kind_of_a_kind_is_a_kind() -> None:
    class Finer(Kind, kind=True):
        depth: int = 1

    class Leaf(Finer, name="leaf", version=1):
        pass

    assert Leaf().model_dump() == {"stride": 2, "depth": 1}
    with pytest.raises(StageDefinitionError, match=r"class Bad\(Finer, name"):
        type("Bad", (Finer,), {"__module__": __name__})


def test_roles_come_from_the_signature() -> None:
    assert {name: role.many for name, role in Count.roles.items()} == {
        "boxes": True,
        "labels": False,
    }
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
    assert Pretrain().reads() == {"shards", "split", "labels", "trajectories"}
