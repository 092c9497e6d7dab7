"""A tiny encoder and a tiny labelled data set that the protocols of this room run on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import random_encoder
from storage_schemas.encoders import EncoderFiles
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

SPEC = EncoderSpec(width=4)


@pytest.fixture
def tiny_encoder(tmp_path: Path) -> EncoderFiles:
    """Running statistics are not those of a fresh encoder."""
    folder = tmp_path / "tiny_encoder"
    folder.mkdir()
    network = random_encoder(SPEC, seed=7)
    generator = torch.Generator().manual_seed(0)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
    torch.save(network.state_dict(), folder / "encoder.pt")
    EncoderFiles.describe(
        folder, SPEC.model_dump(mode="json"), mean=(0.5, 0.4, 0.3), std=(0.5, 0.3, 0.2)
    )
    return EncoderFiles.open(folder)


@pytest.fixture
def colours(tmp_path: Path, make_frames: Any) -> dict[str, Any]:
    """``shards`` and ``labels``: eight red and eight blue videos, half of each to test."""
    folder = tmp_path / "colours"
    folder.mkdir()
    rng = np.random.default_rng(0)
    items, rows = {}, []
    for i in range(16):
        video_id = f"{i:02d}.mp4"
        frames = rng.integers(0, 90, (9, 48, 64, 3), np.uint8)
        frames[..., 0 if i % 2 else 2] += 160
        items[video_id] = make_frames(video_id, frames=frames, kind=Shard).to_tables()
        rows.append(LabelRow(video_id, "red" if i % 2 else "blue", "test" if i < 8 else "train"))
    Shard.write_part(folder, items)
    return {"shards": Items(Shard, [folder]), "labels": Labels(rows)}
