"""Recipes: found by name, buildable, and without a constant of unknown source."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.graph import check_names, walk
from pipeline.parameters import resolve
from pipeline.store import Store
from stages.learning.encoders import build
from stages.learning.method import Method
from stages.pretrain.pretrain import Pretrain
from storage_schemas.errors import ParameterError
from workflows import recipes
from workflows.session import Request, open_graph

DOCS = Path(__file__).parents[2] / "docs" / "methods"
PRETRAINING = [name for name in recipes.names() if name.split("_")[0] in Method.names()]

# Whose papers and code a method may rest on, besides our own choices.
FAMILIES = {
    "constcl": {"ConST-CL", "CVRL"},
    "ctp": {"CtP"},
    "fame": {"FAME"},
    "moco": {"FAME", "PreViTS"},
    "previts": {"PreViTS", "RSPNet"},
    "rspnet": {"RSPNet", "PreViTS"},
    "simclr": {"ConST-CL", "CVRL"},
}
ELSEWHERE = ("tubelet", "recipe", "as published", "learning_rate * batch_size / rate_per")


def training_of(name: str) -> Pretrain:
    (step,) = (step for step in walk(recipes.load(name)) if step.stage.name == "pretrain")
    assert isinstance(step.stage, Pretrain)
    return step.stage


def test_every_method_has_published_recipes_and_a_tiny_one() -> None:
    for method in Method.names():
        own = [name for name in PRETRAINING if name.startswith(f"{method}_")]
        assert f"{method}_tiny" in own
        assert len(own) > 1, f"{method} has no published recipe"
        assert all(training_of(name).method.name == method for name in own)


@pytest.mark.parametrize("name", recipes.names())
def test_no_constant_lacks_a_source(name: str) -> None:
    steps = list(walk(recipes.load(name)))
    check_names(recipes.load(name))
    lacking = [
        f"{step.name}.{place.path} = {place.value}"
        for step in steps
        for place in resolve(step.stage)
        if place.source is None
    ]
    assert not lacking


@pytest.mark.parametrize("name", [name for name in PRETRAINING if not name.endswith("_tiny")])
def test_sources_are_the_method_s_own(name: str) -> None:
    """A default that another paper set, and that nobody looked at for this one, is found."""
    family = FAMILIES[name.split("_")[0]]
    foreign = [
        f"{place.path} = {place.value}: {place.source}"
        for place in resolve(training_of(name))
        if not place.idle
        and not str(place.source).startswith(ELSEWHERE)
        and re.findall(r"[\w-]+", str(place.source))[0] not in family
    ]
    assert not foreign


@pytest.mark.parametrize("name", PRETRAINING)
def test_encoder_and_heads_fit(name: str) -> None:
    training = training_of(name)
    with torch.device("meta"):
        encoder = build(training.encoder, **training.method.encoder_options)
        assert len(training.method.heads(encoder)) > 0


# Learning rate of the whole batch, batch, epochs, encoder, size: spec of each method.
@pytest.mark.parametrize(
    ("name", "rate", "batch", "epochs", "encoder", "size"),
    [
        ("ctp_ucf101", 0.01, 32, 300, "r3d18", 112),
        ("ctp_kinetics400", 0.01, 32, 90, "r3d18", 112),
        ("rspnet_kinetics400_resnet18", 0.4, 256, 200, "r3d18_hara", 112),
        ("rspnet_kinetics400_c3d", 0.2, 128, 200, "c3d", 112),
        ("rspnet_kinetics400_r2plus1d", 0.1, 128, 200, "r2plus1d_vcop", 112),
        ("rspnet_kinetics400_s3dg", 0.2, 256, 200, "s3dg", 224),
        ("rspnet_kinetics400_s3dg_long", 0.2, 256, 1000, "s3dg", 224),
        ("previts_vggsound_video", 0.2, 256, 200, "s3dg", 224),
        ("previts_kinetics400_image", 0.03, 256, 200, "resnet50", 224),
        ("constcl_kinetics400", 40.96, 1024, 869, "r3d50", 224),
        ("constcl_kinetics400_short", 40.96, 1024, 434, "r3d50", 224),
        ("simclr_kinetics400", 40.96, 1024, 869, "r3d50", 224),
        ("fame_ucf101_i3d", 0.01, 64, 200, "i3d", 224),
        ("fame_kinetics400_r2plus1d", 0.01, 64, 200, "r2plus1d18_torchvision", 112),
        ("moco_ucf101_i3d", 0.01, 64, 200, "i3d", 224),
        ("moco_vggsound_image", 0.03, 256, 200, "resnet50", 224),
    ],
)
def test_published_numbers(
    name: str, rate: float, batch: int, epochs: int, encoder: str, size: int
) -> None:
    training = training_of(name)
    optimisation = training.optimisation
    assert optimisation.peak_rate == pytest.approx(rate)
    assert (optimisation.batch_size, optimisation.epochs) == (batch, epochs)
    assert (training.encoder.name, training.encoder.width) == (encoder, 64)
    assert training.method.size == size  # type: ignore[attr-defined]


KINETICS = 'label,youtube_id,time_start,time_end,split\n"a, b",-x,1,11,train\na,_gone,2,12,train\n'


@pytest.mark.parametrize(
    ("name", "lists", "video", "note"),
    [
        (
            "ctp_ucf101",
            {
                "ucfTrainTestlist/trainlist01.txt": "A/v.avi 1\n",
                "ucfTrainTestlist/testlist01.txt": "",
            },
            "UCF-101/A/v.avi",
            "train: 1 of 1 listed videos are there (the official list has 9537)",
        ),
        ("rspnet_kinetics400_c3d", {"train.csv": KINETICS}, "a/-x_000001_000011.mp4", "1 of 2"),
        ("previts_vggsound_image", {"vggsound.csv": '-x,1,"a, b",train\n'}, "-x_000001.mp4", None),
    ],
)
def test_published_layouts_are_planned(
    name: str,
    lists: dict[str, str],
    video: str,
    note: str | None,
    tmp_path: Path,
    make_video: Callable[..., Path],
) -> None:
    for path, text in lists.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    make_video(tmp_path / video)
    source = name.split("_")[1]
    request = Request(name, [f"{source}.path={tmp_path}"])
    graph = open_graph(request, Store(tmp_path / "store"))
    (decode,) = (node for node in graph.nodes if node.stage.name == "decode")
    assert len(decode.video_ids) == 1
    said = " ".join(text for notes in graph.notes.values() for text in notes)
    assert said == "" if note is None else note in said


def test_queues_are_those_of_the_data_set() -> None:
    for method in ("fame", "moco"):
        for data, size in (("ucf101_i3d", 2048), ("kinetics400_i3d", 65536)):
            contrast = training_of(f"{method}_{data}").method.contrast  # type: ignore[attr-defined]
            assert (contrast.queue_size, contrast.hidden) == (size, 1024)


def test_a_recipe_has_a_line_of_documentation() -> None:
    for name in recipes.names():
        assert recipes.describe(name).endswith((".", "DIR"))
    for name in PRETRAINING:
        page = (DOCS / f"{name.split('_')[0]}.md").read_text()
        assert f"`{name}`" in page, f"docs/methods does not name {name}"


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(ParameterError, match="did you mean 'rspnet_tiny'"):
        recipes.load("rspnet_tinny")
    with pytest.raises(ParameterError, match="no recipe is named 'rspnet'"):
        recipes.load("rspnet")
    with pytest.raises(ParameterError, match=r"'nowhere\.recipes' cannot be imported"):
        recipes.load("nowhere.recipes")


def test_a_module_s_path_finds_a_recipe_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_recipes.py").write_text(
        "from stages.sources.folder import Folder\n\ndef recipe():\n    return [Folder().of()]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (step,) = recipes.load("my_recipes")
    assert step.name == "folder"


@pytest.mark.parametrize("name", ["demo", "evaluate", "full"])
def test_maps_are_drawn_wherever_classifiers_are_trained(name: str) -> None:
    """With the views that the rest of the evaluation looks at, or larger ones."""
    stages = {step.name: step.stage for step in walk(recipes.load(name))}
    features = stages["features"]
    for maps in (stages["encoder_maps"], stages["class_maps"]):
        for parameter in ("num_frames", "frame_stride"):
            assert getattr(maps, parameter) == getattr(features, parameter)
        assert maps.size >= features.size
