"""Maps without classes: sums of channels, and masks of what moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.stage import Context
from stages.evaluate.encoder_maps import EncoderMaps
from stages.learning.encoders import load_encoder
from stages.learning.foreground_mask import foreground_masks
from stages.learning.pixels import normalise, to_unit
from storage_schemas.encoders import EncoderFiles
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard


def test_caam_and_masks(tiny_encoder: EncoderFiles, make_frames: Any, tmp_path: Path) -> None:
    folder = tmp_path / "shard"
    folder.mkdir()
    names = [f"{i}.mp4" for i in range(3)]
    tables = {v: make_frames(v, kind=Shard, size=(48, 64), seed=i).to_tables()
              for i, v in enumerate(names)}  # fmt: skip
    Shard.write_part(folder, tables)
    inputs: dict[str, Any] = {
        "encoder": tiny_encoder,
        "shards": Items(Shard, [folder]),
        "labels": Labels([LabelRow(v, v, "train" if v == "1.mp4" else "test") for v in names]),
    }
    stage = EncoderMaps(num_frames=8, size=48, foreground={"area": 0.1, "by": "motion"})
    maps = stage.run(ctx=Context(work=tmp_path, device="cpu"), **inputs)
    assert list(maps.videos) == ["0.mp4", "2.mp4"], "test videos only"
    network = load_encoder(tiny_encoder).eval()
    for video_id, (caam, mask) in maps.videos.items():
        clip = torch.from_numpy(stage.cut(inputs["shards"][video_id]))
        with torch.no_grad():
            pixels = normalise(clip, mean=tiny_encoder.mean, std=tiny_encoder.std)
            expected = network(pixels).sum(1)[0]
        assert caam.kind == "caam"
        np.testing.assert_allclose(caam.values_THW, expected, rtol=1e-4)
        assert mask.kind == "fame_mask"
        same = foreground_masks(to_unit(clip), stage.foreground)
        np.testing.assert_array_equal(mask.values_THW, same.numpy().astype(np.float32))
        assert mask.values_THW.sum() == int(0.1 * 48 * 48), "the share that is asked for, exactly"
        # The square moves over rows 10 to 22 of the stored frames.
        assert mask.values_THW[0, 8:24].sum() > 0.9 * mask.values_THW.sum()
        np.testing.assert_allclose(mask.view_xyxy, [8, 0, 56, 48])
    assert stage.preview(maps, **inputs).ndim == 3
