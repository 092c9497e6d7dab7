"""``tubelet bench train`` on a recipe of its own: what it reads is computed, then measured."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from storage_schemas.errors import ParameterError
from workflows.cli import app

RECIPE = '''
"""Three videos."""
from stages.decode.decode import Decode
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.optimisation import Optimisation
from stages.pretrain.pretrain import Pretrain
from stages.shard.shard import MakeShard
from stages.sources.folder import Folder


def recipe():
    shards = MakeShard().of(frames=Decode(short_side=64).of(videos=Folder().of()))
    training = Pretrain(
        method={
            "name": "moco", "num_frames": 4, "size": 32, "frame_stride": 1,
            "contrast": {"queue_size": 8, "hidden": 8},
        },
        encoder=EncoderSpec(width=4),
        optimisation=Optimisation(batch_size=2),
    )
    return [training.of(shards=shards)]
'''


def test_table_and_verdict(
    tmp_path: Path, make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        make_video(tmp_path / "videos" / f"{i}.mp4", seed=i)
    (tmp_path / "bench_recipe.py").write_text(RECIPE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    arguments = [
        "bench", "train", "bench_recipe", "--set", f"folder.path={tmp_path / 'videos'}",
        "--store", str(tmp_path / "store"), "--seconds", "0.1",
    ]  # fmt: skip
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    said = " ".join(done.output.split())
    assert "3 to run" in said  # source, frames, shard: not the training
    for line in ("loader alone, 0 workers", "step alone, batch in memory", "both together"):
        assert line in said
    assert ("Bound by loading" in said) != ("Bound by compute" in said)
    assert not list((tmp_path / "store" / "artifacts").glob("pretrain*"))
    with pytest.raises(ParameterError, match=r"--step decode means 0 trainings.*has pretrain"):
        CliRunner().invoke(app, [*arguments, "--step", "decode"], catch_exceptions=False)
