"""Features end to end: a frozen encoder's own forward pass, and pooling by worked numbers."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.stage import Context
from stages.evaluate.clips import clip_indices
from stages.evaluate.features import ExtractFeatures, pool
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import load_encoder, random_encoder
from stages.learning.views import CropAndFlip
from storage_schemas.encoders import EncoderFiles
from storage_schemas.features import Features
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

SPEC = EncoderSpec(width=4)
STAGE = ExtractFeatures(num_clips=2, num_frames=8, size=32)
DIMENSIONS = {"A": 32 * 2 * 3 * 3, "B": 32, "gap": 32}


@pytest.fixture
def encoder(tiny_encoder: EncoderFiles) -> EncoderFiles:
    """Has running statistics that a training-mode pass would change."""
    return tiny_encoder


@pytest.fixture
def shards(tmp_path: Path, make_frames: Any) -> Items[Shard]:
    """Four videos in two parts: clips with a gap between them; the last repeats frames."""
    folders = []
    for part, numbers in enumerate(((0, 1), (2, 3))):
        folder = tmp_path / f"part{part}"
        folder.mkdir()
        videos = [
            make_frames(f"{i}.mp4", kind=Shard, seed=i, num_frames=5 if i == 3 else 21)
            for i in numbers
        ]
        Shard.write_part(folder, {video.video_id: video.to_tables() for video in videos})
        folders.append(folder)
    return Items(Shard, folders)


def run(encoder: EncoderFiles, shards: Items[Shard], work: Path, **more: Any) -> Features:
    context = Context(work=work, device="cpu", **more)
    return STAGE.run(encoder=encoder, shards=shards, ctx=context)


def test_vectors_are_the_encoders_own(
    encoder: EncoderFiles, shards: Items[Shard], tmp_path: Path
) -> None:
    before = hashlib.sha256(encoder.weights.read_bytes()).hexdigest()
    progress: list[float] = []
    features = run(
        encoder, shards, tmp_path, progress=lambda fraction, text: progress.append(fraction)
    )
    assert hashlib.sha256(encoder.weights.read_bytes()).hexdigest() == before
    assert progress == [0.25, 0.5, 0.75, 1.0]
    assert list(features.video_ids) == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    assert set(features.vectors) == {"pretrained", "random"}
    networks = {
        "pretrained": load_encoder(encoder).eval(),
        "random": random_encoder(SPEC, seed=STAGE.random_seed).eval(),
    }
    for row, video_id in enumerate(features.video_ids):
        video = shards[video_id]
        indices = clip_indices(
            len(video), num_clips=2, num_frames=8, frame_stride=1, rule=STAGE.clip_rule
        )
        crop = CropAndFlip.centred(height=video.height, width=video.width, size=32)
        clips = np.stack([crop.apply(video.decode(clip)) for clip in indices])
        for name, network in networks.items():
            pixels = torch.from_numpy(clips).permute(0, 4, 1, 2, 3) / 255
            mean, std = (torch.tensor(v).view(1, 3, 1, 1, 1) for v in (encoder.mean, encoder.std))
            with torch.inference_mode():
                pooled = pool(network((pixels - mean) / std), pooling_a="max")
            assert set(features.vectors[name]) == set(DIMENSIONS)
            for pooling, vectors_ND in pooled.items():
                found = features.vectors[name][pooling]
                assert found.shape == (4, DIMENSIONS[pooling])
                expected = vectors_ND.mean(0).numpy()
                np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-5)
    difference = features.vectors["pretrained"]["gap"] - features.vectors["random"]["gap"]
    assert np.abs(difference).max() > 0.01


def test_order_and_company_of_videos_do_not_matter(
    encoder: EncoderFiles, shards: Items[Shard], tmp_path: Path
) -> None:
    """Batch statistics would leak from one video into another; the encoder is frozen."""
    together = run(encoder, shards, tmp_path)
    alone = run(encoder, Items(Shard, shards.folders[1:]), tmp_path)
    for name in ("pretrained", "random"):
        np.testing.assert_array_equal(alone.vectors[name]["A"], together.vectors[name]["A"][2:])


def test_same_input_same_bytes(encoder: EncoderFiles, shards: Items[Shard], tmp_path: Path) -> None:
    one, two = run(encoder, shards, tmp_path), run(encoder, shards, tmp_path)
    for name, poolings in one.vectors.items():
        for pooling, matrix in poolings.items():
            assert matrix.dtype == np.float32
            np.testing.assert_array_equal(matrix, two.vectors[name][pooling])


def test_adaptive_pooling_sees_the_last_row_and_column() -> None:
    """downstream.md 14.4: pooling by kernel 2 stride 2 drops row 6 of 7."""
    maps = torch.zeros(1, 1, 2, 7, 7)
    maps[0, 0, 1, 6, 6] = 49.0
    for pooling_a, expected in (("max", 49.0), ("average", 49.0 / 9)):
        vector = pool(maps, pooling_a=pooling_a)["A"].reshape(2, 3, 3)
        assert vector[1, 2, 2] == pytest.approx(expected)
        assert vector.sum() == pytest.approx(expected)
    assert torch.nn.functional.max_pool3d(maps, (1, 2, 2), (1, 2, 2)).abs().max() == 0
    overlap = torch.zeros(1, 1, 2, 7, 7)
    overlap[0, 0, 0, 2, 4] = 1.0  # bins [0,3), [2,5), [4,7)
    vector = pool(overlap, pooling_a="max")["A"].reshape(2, 3, 3)
    assert vector[0].tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 0]]


def test_vcops_pooling_drops_the_last_row_and_column() -> None:
    maps = torch.zeros(1, 1, 2, 7, 7)
    maps[0, 0, :, 6, :] = 1.0
    maps[0, 0, 0, 5, 0] = 2.0
    vector = pool(maps, pooling_a="vcop")["A"].reshape(2, 3, 3)
    assert vector.sum() == 2.0
    assert vector[0, 2, 0] == 2.0


def test_poolings_b_and_gap_by_hand() -> None:
    maps = torch.zeros(1, 2, 2, 2, 2)
    maps[0, 0, 0] = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    maps[0, 0, 1] = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
    pooled = pool(maps, pooling_a="max")
    assert pooled["B"].tolist() == [[5.0, 0.0]]  # (6 + 4) / 2
    assert pooled["gap"].tolist() == [[2.0, 0.0]]
    assert pool(maps, pooling_b="space_time")["B"].tolist() == [[6.0, 0.0]]


def test_vectors_of_views_average_to_those_of_videos(
    encoder: EncoderFiles, shards: Items[Shard], tmp_path: Path
) -> None:
    features = run(encoder, shards, tmp_path)
    for name, clips_VND in features.clip_vectors.items():
        assert clips_VND.shape == (4, 2, 32)
        np.testing.assert_array_equal(clips_VND.mean(1), features.vectors[name]["gap"])


def test_the_random_encoder_can_be_left_out(
    encoder: EncoderFiles, shards: Items[Shard], tmp_path: Path
) -> None:
    stage = ExtractFeatures(num_clips=1, num_frames=8, size=32, random_seed=None)
    context = Context(work=tmp_path, device="cpu")
    features = stage.run(encoder=encoder, shards=shards, ctx=context)
    assert set(features.vectors) == set(features.clip_vectors) == {"pretrained"}


def test_a_random_encoder_is_called_so_and_stands_alone(
    encoder: EncoderFiles, shards: Items[Shard], tmp_path: Path
) -> None:
    features = run(replace(encoder, origin="random"), shards, tmp_path)
    assert set(features.vectors) == {"random"}
    np.testing.assert_array_equal(
        features.vectors["random"]["gap"],
        run(encoder, shards, tmp_path).vectors["pretrained"]["gap"],
    )


def test_a_preset_fills_what_is_not_named() -> None:
    stage = ExtractFeatures(preset="ctp", num_clips=3)
    assert (stage.frame_stride, stage.clip_rule, stage.num_clips) == (2, "uniform", 3)
    assert (stage.size, stage.short_side, stage.long_side) == (112, 128, 171)


EXTRACT = """
import sys
import time
from pathlib import Path
from pipeline.stage import Context
from stages.evaluate.features import ExtractFeatures
from storage_schemas import features
from storage_schemas.encoders import EncoderFiles
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

encoder, work, *folders = map(Path, sys.argv[1:])


def progress(share, text):
    print(share, flush=True)
    if share == 0.5:
        time.sleep(1000)  # and waits to be killed


features.CHECKPOINT_SECONDS = 0
context = Context(work=work, device="cpu", progress=progress)
ExtractFeatures(num_clips=2, num_frames=8, size=32).run(
    encoder=EncoderFiles.open(encoder), shards=Items(Shard, folders), ctx=context
)
"""


@pytest.mark.kill
def test_a_killed_extraction_goes_on_where_it_was(
    encoder: EncoderFiles, shards: Items[Shard], tmp_path: Path
) -> None:
    """SIGKILL after the second of four videos: the others are done, and no byte differs."""
    whole = run(encoder, shards, made(tmp_path / "whole"))
    work = made(tmp_path / "work")
    process = subprocess.Popen(
        [sys.executable, "-c", EXTRACT, encoder.folder, work, *shards.folders],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["0.25\n", "0.5\n"]
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    told: list[float] = []
    resumed = run(encoder, shards, work, progress=lambda share, text: told.append(share))
    assert told == [0.75, 1.0]
    for name, poolings in whole.vectors.items():
        for pooling, matrix in poolings.items():
            np.testing.assert_array_equal(resumed.vectors[name][pooling], matrix)
        np.testing.assert_array_equal(resumed.clip_vectors[name], whole.clip_vectors[name])


def test_another_encoder_does_not_go_on_with_what_is_there(
    encoder: EncoderFiles, shards: Items[Shard], tmp_path: Path
) -> None:
    one = run(encoder, shards, tmp_path)
    torch.save(random_encoder(SPEC, seed=8).state_dict(), encoder.weights)
    other = run(encoder, shards, tmp_path)
    assert (one.vectors["pretrained"]["gap"] != other.vectors["pretrained"]["gap"]).any()


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder
