"""Encoders from elsewhere: random, ours, torchvision's, wrapped, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.keys import artifact_key
from pipeline.stage import Context
from stages.evaluate.given_encoder import GivenEncoder
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build, load_encoder, random_encoder
from stages.learning.encoders.torchvision_weights import to_torchvision
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import SchemaError

SPEC = EncoderSpec(width=4)


def made(folder: Path, **values: Any) -> EncoderFiles:
    work = folder / "work"
    work.mkdir(exist_ok=True)
    return GivenEncoder(**{"encoder": SPEC, **values}).run(ctx=Context(work=work))


def same(files: EncoderFiles, state: Any) -> bool:
    found = load_encoder(files).state_dict()
    return found.keys() == state.keys() and all(torch.equal(found[k], state[k]) for k in found)


def test_random_weights_come_from_the_seed(tmp_path: Path) -> None:
    files = made(tmp_path, seed=3)
    assert files.origin == "random"
    assert same(files, random_encoder(SPEC, seed=3).state_dict())
    assert not same(files, random_encoder(SPEC, seed=4).state_dict())


def test_weights_of_an_artifact_and_what_they_are_fed_with(
    tiny_encoder: EncoderFiles, tmp_path: Path
) -> None:
    fed = {"mean": tuple(tiny_encoder.mean), "std": tuple(tiny_encoder.std)}
    files = made(tmp_path, weights=tiny_encoder.weights, **fed)
    assert files.origin == "pretrained"
    assert same(files, torch.load(tiny_encoder.weights, weights_only=True))
    with pytest.raises(SchemaError, match=r"has mean \[0.5, 0.4, 0.3\], .*set given_encoder.mean"):
        made(tmp_path, weights=tiny_encoder.weights)
    with pytest.raises(SchemaError, match=r"has encoder .*set given_encoder.encoder"):
        made(tmp_path, weights=tiny_encoder.weights, encoder=EncoderSpec(width=8), **fed)


@pytest.mark.parametrize("wrapped", [False, True])
def test_torchvisions_checkpoint_with_its_classifier(tmp_path: Path, wrapped: bool) -> None:
    spec = EncoderSpec(name="r3d18_torchvision", width=4)
    ours = random_encoder(spec, seed=1).state_dict()
    theirs = {**to_torchvision("r3d18_torchvision", ours), "fc.weight": torch.zeros(400, 32)}
    if wrapped:
        theirs = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in theirs.items()}}
    torch.save(theirs, tmp_path / "r3d.pth")
    assert same(made(tmp_path, weights=tmp_path / "r3d.pth", encoder=spec), ours)


def test_two_branches_give_the_global_one(tmp_path: Path) -> None:
    spec = EncoderSpec(name="r3d50", width=4)
    whole = build(spec, branches=2)
    torch.save(whole.state_dict(), tmp_path / "two.pt")
    found = load_encoder(made(tmp_path, weights=tmp_path / "two.pt", encoder=spec))
    for key, value in found.state_dict().items():
        assert torch.equal(value, whole.state_dict()[key])


def test_foreign_weights_are_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(SchemaError, match=r"holds no encoder 'r3d18' of width 4.*--set given_enc"):
        made(tmp_path, weights=tmp_path / "other.pt")
    torch.save(random_encoder(EncoderSpec(width=8), seed=0).state_dict(), tmp_path / "wide.pt")
    with pytest.raises(SchemaError, match="of width 4"):
        made(tmp_path, weights=tmp_path / "wide.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(SchemaError, match="holds no plain state dict"):
        made(tmp_path, weights=tmp_path / "text.pt")


def test_the_content_of_the_file_is_in_the_key(tmp_path: Path) -> None:
    keys = set()
    for folder, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "w.pt"
        path.write_text(text)
        keys.add(artifact_key(GivenEncoder(weights=path), {}))
    assert len(keys) == 2
    assert artifact_key(GivenEncoder(), {}) not in keys
