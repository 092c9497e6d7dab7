"""R3D-18 after ctp.md section 4.1."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build, load_encoder, load_state, random_encoder
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import SchemaError

TINY = EncoderSpec(width=4)


def test_parameter_count_is_the_published_one() -> None:
    assert sum(p.numel() for p in build(EncoderSpec()).parameters()) == 33_166_272


def test_both_forms_share_weights_and_differ_in_stride() -> None:
    pretraining, downstream = build(TINY, pretraining=True), build(TINY)
    downstream.load_state_dict(pretraining.state_dict())
    clip = torch.zeros(1, 3, 16, 112, 112)
    with torch.inference_mode():
        assert pretraining.eval()(clip).shape == (1, 32, 2, 14, 14)
        assert downstream.eval()(clip).shape == (1, 32, 2, 7, 7)


def test_random_encoder_depends_on_its_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = random_encoder(TINY, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    second = random_encoder(TINY, seed=5).state_dict()
    other = random_encoder(TINY, seed=6).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])


def test_save_and_load(tmp_path: Path) -> None:
    encoder = random_encoder(TINY, seed=0)
    torch.save(encoder.state_dict(), tmp_path / "encoder.pt")
    EncoderFiles.write_parameters(tmp_path, TINY.model_dump(mode="json"))
    loaded = load_encoder(EncoderFiles.open(tmp_path))
    assert torch.equal(loaded.stem[0].weight, encoder.stem[0].weight)


class Evil:
    def __reduce__(self) -> object:
        return (print, ("unpickled",))


def test_nothing_is_unpickled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "encoder.pt"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(SchemaError, match="no plain state dict"):
        load_state(path)
    assert capsys.readouterr().out == ""
