"""--set: typed, validated, with the nearest valid name."""

from __future__ import annotations

import pytest

from pipeline.graph import Step, walk
from pipeline.overrides import apply_overrides
from pipeline.source import labels_of
from pipeline.stage import Stage
from stages.detect.detector import Detector
from stages.report.report import Report
from stages.sources.ucf101 import Ucf101
from storage_schemas.errors import ParameterError
from workflows.recipes import demo, preprocess
from workflows.tiny import FRAMES


def stage_of(targets: list[Step], name: str) -> Stage:
    return next(step.stage for step in walk(targets) if step.name == name)


def set_(*settings: str) -> list[Step]:
    return apply_overrides(demo.recipe(), settings)


def test_values_are_typed() -> None:
    targets = set_("slic.num_segments=64", "slic.sigma=0.5", "clips.path=/some/where")
    slic = stage_of(targets, "slic")
    assert (slic.num_segments, slic.sigma) == (64, 0.5)  # type: ignore[attr-defined]
    assert str(stage_of(targets, "clips").path) == "/some/where"  # type: ignore[attr-defined]


def test_nested_parameters_and_variants() -> None:
    targets = set_("pretrain.method.hidden=32", "pretrain.optimisation.epochs=1")
    pretrain = stage_of(targets, "pretrain")
    assert pretrain.method.hidden == 32  # type: ignore[attr-defined]
    assert pretrain.optimisation.epochs == 1  # type: ignore[attr-defined]
    detect = stage_of(set_("detect.detector=nanodet"), "detect")
    assert detect.detector.name == "nanodet"  # type: ignore[attr-defined]


NEEDS_NO_PACKAGE = [name for name in Detector.names() if name != "detectron2_zoo"]


@pytest.mark.parametrize("first", NEEDS_NO_PACKAGE)
@pytest.mark.parametrize("then", NEEDS_NO_PACKAGE)
def test_any_choice_of_a_family_follows_any_other(first: str, then: str) -> None:
    """Choices may have a kind in common; the family's names count all the same."""
    settings = [f"detect.detector={name}" for name in (first, then)]
    if then in ("nanodet", "hog"):
        assert stage_of(set_(*settings), "detect").detector.name == then  # type: ignore[attr-defined]
    else:  # these need a file, which the message asks for
        with pytest.raises(ParameterError, match=r"add --set detect\.detector\.\w+=VALUE"):
            set_(*settings)


def test_another_choice_keeps_what_the_recipe_set_and_both_have() -> None:
    method = stage_of(set_("pretrain.method=moco"), "pretrain").method  # type: ignore[attr-defined]
    assert (method.name, method.num_frames) == ("moco", FRAMES)
    assert method.contrast.queue_size == 16384  # the method's own default
    mixed = set_("pretrain.method=rspnet", "pretrain.method.relative.queue_size=64")
    assert stage_of(mixed, "pretrain").method.relative.queue_size == 64  # type: ignore[attr-defined]
    twice = set_("pretrain.method=rspnet", "pretrain.method.preset=paper")
    assert stage_of(twice, "pretrain").method.relative.margin == 0.15  # type: ignore[attr-defined]
    back = set_("pretrain.method=rspnet", "pretrain.method=ctp")
    assert stage_of(back, "pretrain").method.num_frames == FRAMES  # type: ignore[attr-defined]


def test_a_step_name_is_narrower_than_a_stage_name() -> None:
    both = set_("decode.quality=50")
    assert stage_of(both, "decode").quality == 50  # type: ignore[attr-defined]
    assert stage_of(both, "shapes_decode").quality == 90  # type: ignore[attr-defined]
    one = set_("shapes_decode.quality=50")
    assert stage_of(one, "decode").quality == 90  # type: ignore[attr-defined]


def test_preset_replaces_what_the_old_one_filled_in() -> None:
    paper = stage_of(set_("synthesize.preset=paper"), "synthesize")
    assert paper.interpolation == "linear"  # type: ignore[attr-defined]
    mixed = set_("synthesize.preset=paper", "synthesize.interpolation=random")
    assert stage_of(mixed, "synthesize").interpolation == "random"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("slic.num_segmets=3", "slic has no parameter 'num_segmets'; did you mean 'num_segments'"),
        ("slik.num_segments=3", "no stage is named 'slik'; did you mean 'slic'"),
        ("slic.num_segments", "takes stage.param=value"),
        ("slic.num_segments=1", "slic.num_segments = 1: Input should be greater than or equal"),
        ("slic.num_segments=many", "slic.num_segments = 'many': Input should be a valid integer"),
        ("pretrain.method=ctpp", "no method is named 'ctpp'; did you mean 'ctp'"),
        ("pretrain.method.hiden=3", "pretrain.method has no parameter 'hiden'; did you mean"),
        ('detect.classes=["persn"]', "knows no class 'persn'; did you mean 'person'"),
    ],
)
def test_errors_name_the_nearest(setting: str, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        set_(setting)
    assert message in str(error.value)


def test_another_source_takes_the_place_of_the_recipe_s() -> None:
    targets = apply_overrides(preprocess.recipe(), ["source=hmdb51", "hmdb51.split=3"])
    names = [step.name for step in walk(targets)]
    assert (names[0], "folder" in names) == ("hmdb51", False)
    assert stage_of(targets, "hmdb51").split == 3  # type: ignore[attr-defined]


def test_steps_named_after_the_old_source_are_named_after_the_new_one() -> None:
    old = Ucf101().of()
    report = Report().of(about=[labels_of(old), labels_of(old, step_name="classes")])
    names = [step.name for step in walk(apply_overrides([report], ["source=jhmdb"]))]
    assert names == ["jhmdb", "jhmdb_labels", "classes", "report"]
    named = Report().of(about=[labels_of(Ucf101().of(step_name="videos"))])
    targets = apply_overrides([named], ["source=jhmdb", "videos.split=2"])
    assert [step.name for step in walk(targets)] == ["videos", "videos_labels", "report"]
    assert stage_of(targets, "videos").name == "jhmdb"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("source=hmdb5", "no source is named 'hmdb5'; did you mean 'hmdb51'?"),
        ("source=generated", "source 'generated' reads what another stage makes"),
        ("source", "no source is named ''; choose from .*'imagenet9'.*'ucf101'"),
    ],
)
def test_no_such_source(setting: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        apply_overrides(preprocess.recipe(), [setting])


def test_a_source_is_chosen_only_where_there_is_one() -> None:
    two = Report().of(about=[labels_of(Ucf101().of()), labels_of(Ucf101().of(step_name="b"))])
    with pytest.raises(ParameterError, match=r"reads 2 sources from disk \(ucf101, b\), not one"):
        apply_overrides([two], ["source=jhmdb"])
