"""The file of published numbers: what it says, and in our names."""

from __future__ import annotations

from typing import get_args

import pytest

from stages.evaluate.backgrounds.challenge import PROTOCOL
from stages.evaluate.backgrounds.variants import VARIANTS
from stages.evaluate.finetune import Finetune
from stages.evaluate.retrieval import PROTOCOLS
from stages.learning.encoder_spec import EncoderName
from stages.learning.method import Method
from stages.report.published import Origin, beside, published

BACKGROUNDS = {PROTOCOL, *(f"{PROTOCOL} {variant}" for variant in VARIANTS)}


def test_numbers_of_the_specs() -> None:
    found = {
        (one.protocol, one.dataset, one.method, one.encoder, one.metric): one.value
        for one in published()
        if "1000" not in one.pretrained_on
    }
    assert found["fine-tune", "ucf101", "ctp", "r3d18", "top-1"] == 83.9
    assert found["fine-tune", "hmdb51", "rspnet", "s3dg", "top-1"] == 59.6
    assert found["retrieval B (RSPNet)", "ucf101", "rspnet", "r3d18_hara", "R@50"] == 88.7
    assert found["backgrounds Mixed-Same", "imagenet9", "supervised", "resnet152", "top-1"] == 89.3
    assert found["backgrounds", "mini_kinetics200", "previts", "s3dg", "drop"] == 6.9
    assert found["retrieval", "ucf101", "Pace", "C3D", "R@10"] == 59.2


def test_every_row_has_a_source_and_a_share() -> None:
    for one in published():
        assert one.source, one
        assert one.metric, one
        assert 0 < one.value < 100, one
    assert len(published()) == len({tuple(vars(one).items()) for one in published()})


def test_our_methods_and_encoders_are_called_as_here() -> None:
    """A misspelt name would never stand beside anything."""
    for one in published():
        if one.method in Method.names():
            assert one.encoder in get_args(EncoderName), one
    ours = {Finetune().protocol, Finetune(frozen=True).protocol, *PROTOCOLS.values(), *BACKGROUNDS}
    for one in published():
        assert any(one.of_protocol(protocol) for protocol in ours), one


def test_only_the_same_thing_is_beside() -> None:
    origin = Origin(dataset="ucf101", method="rspnet", encoder="s3dg")
    assert [one.value for one in origin.matching("fine-tune", "top-1")] == [89.9, 93.7]
    assert origin.matching("fine-tune", "top-5") == []
    assert Origin().matching("fine-tune", "top-1") == []
    assert {one.protocol for one in beside(["retrieval A (CtP)"])} == {"retrieval"}
    assert beside(["kNN"]) == []


@pytest.mark.parametrize("protocol", ["linear probe", "linear probe, augmented"])
def test_the_probe_on_features_is_not_the_papers(protocol: str) -> None:
    assert bool(beside([protocol])) == (protocol == "linear probe, augmented")


def test_a_gap_is_the_difference_of_its_forms() -> None:
    """IN-9's table, rounded to a decimal."""
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for one in published():
        if one.dataset == "imagenet9":
            name = one.metric if one.metric == "BG-gap" else one.protocol
            rows.setdefault((one.encoder, one.pretrained_on), {})[name] = one.value
    assert len(rows) == 5
    for row in rows.values():
        gap = row["backgrounds Mixed-Same"] - row["backgrounds Mixed-Rand"]
        assert row["BG-gap"] == pytest.approx(gap, abs=0.1 + 1e-9)
