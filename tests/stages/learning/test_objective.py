"""Objectives from artifacts; the contract of methods tests what comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build
from stages.learning.method import Method
from stages.learning.objective import Objective, load_objective, trained_heads
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import SchemaError

SPEC = EncoderSpec(width=4)


@pytest.fixture
def files(tmp_path: Path) -> EncoderFiles:
    method = Method.choose({"name": "simclr", "num_frames": 8, "clip": {"hidden": 8}})
    objective = Objective(method, build(SPEC))
    torch.save(objective.encoder.state_dict(), tmp_path / "encoder.pt")
    torch.save(trained_heads(objective), tmp_path / "heads.pt")
    EncoderFiles.describe(
        tmp_path,
        SPEC.model_dump(mode="json"),
        mean=method.mean,
        std=method.std,
        method=method.model_dump(mode="json"),
    )
    return EncoderFiles.open(tmp_path)


def test_an_encoder_alone_has_no_heads(files: EncoderFiles) -> None:
    assert isinstance(load_objective(files), Objective)
    files.heads.unlink()
    with pytest.raises(SchemaError, match="has no heads: it was given, fine-tuned"):
        load_objective(files)


def test_heads_of_another_method_are_refused(files: EncoderFiles) -> None:
    state = torch.load(files.heads, weights_only=True)
    lacking = dict(list(state.items())[1:])
    torch.save(lacking, files.heads)
    with pytest.raises(SchemaError, match=r"does not fit simclr: unexpected \[\], missing \['"):
        load_objective(files)
    torch.save(state | {"decoder.weight": torch.zeros(1)}, files.heads)
    with pytest.raises(SchemaError, match=r"unexpected \['decoder.weight'\]"):
        load_objective(files)
