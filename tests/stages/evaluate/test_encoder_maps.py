"""Maps without classes: sums of channels, and masks of what moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.stage import Context
from stages.evaluate import map_stage
from stages.evaluate.encoder_maps import EncoderMaps, asked_box
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build, load_encoder
from stages.learning.foreground_mask import foreground_masks
from stages.learning.method import Method
from stages.learning.objective import Objective, trained_heads
from stages.learning.pixels import normalise, to_unit
from storage_schemas.boxes import Boxes
from storage_schemas.encoders import EncoderFiles
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard


@pytest.fixture
def videos(make_frames: Any, tmp_path: Path) -> dict[str, Any]:
    """``shards`` of a moving square and ``labels``: two videos to test, one to train."""
    folder = tmp_path / "shard"
    folder.mkdir()
    names = [f"{i}.mp4" for i in range(3)]
    tables = {
        video_id: make_frames(video_id, kind=Shard, size=(48, 64), seed=i).to_tables()
        for i, video_id in enumerate(names)
    }
    Shard.write_part(folder, tables)
    rows = [LabelRow(v, v, "train" if v == "1.mp4" else "test") for v in names]
    return {"shards": Items(Shard, [folder]), "labels": Labels(rows)}


def test_caam_and_masks(
    tiny_encoder: EncoderFiles,
    videos: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = {"encoder": tiny_encoder, **videos}
    stage = EncoderMaps(
        num_clips=1, num_frames=8, size=48, foreground={"area": 0.1, "by": "motion"}
    )
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
    drawn = []
    monkeypatch.setattr(map_stage, "map_sheet", lambda maps, video: drawn.extend(maps))
    stage.sheet("0.mp4", maps, **inputs)
    assert {one.kind for one in drawn} == {"caam", "fame_mask"}
    assert all(one.text for one in drawn), "a name like caam tells nobody anything"


def trained(folder: Path, method: Method) -> EncoderFiles:
    """An artifact as a training leaves it."""
    folder.mkdir()
    torch.manual_seed(0)
    spec = EncoderSpec(width=4)
    objective = Objective(method, build(spec, **method.encoder_options))
    torch.save(objective.encoder.state_dict(), folder / "encoder.pt")
    torch.save(trained_heads(objective), folder / "heads.pt")
    EncoderFiles.describe(
        folder,
        spec.model_dump(mode="json"),
        **method.standardisation._asdict(),
        method=method.model_dump(mode="json"),
    )
    return EncoderFiles.open(folder)


BOTH = ["caam", "fame_mask"] * 2


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ({"name": "moco"}, []),
        ({"name": "rspnet"}, ["appearance_similarity"] * 2 + ["motion_similarity"] * 2),
        (
            {"name": "previts"},
            [
                *["similarity_grad_cam"] * 2,
                *["appearance_similarity"] * 2,
                *["motion_similarity"] * 2,
            ],
        ),
        ({"name": "previts", "model": "image"}, ["similarity_grad_cam"] * 2),
        ({"name": "constcl", "clip": {"hidden": 16}}, ["attention"]),
    ],
    ids=str,
)
def test_heads_add_what_their_method_shows(
    method: dict[str, Any], more: list[str], videos: dict[str, Any], tmp_path: Path
) -> None:
    encoder = trained(tmp_path / "encoder", Method.choose(method))
    stage = EncoderMaps(num_frames=8, size=48, num_videos=1)
    maps = stage.run(encoder=encoder, ctx=Context(work=tmp_path, device="cpu"), **videos)
    (found,) = maps.videos.values()
    assert [one.kind for one in found] == BOTH + more
    first, second = found[0].frames_F, found[2].frames_F
    assert first.tolist() == list(range(8))
    assert second.tolist() == list(range(4, 12))
    for one, frames in zip(found[4:], [first, second] * 3, strict=False):
        if one.kind.endswith("similarity"):
            np.testing.assert_array_equal(one.frames_F, frames)
            mean = float(one.text.removeprefix("mean "))
            assert one.values_THW.mean() == pytest.approx(mean, rel=5e-3)
    if method["name"] == "constcl":
        assert found[-1].asked_frame == 4, "the middle of the first clip"
        assert found[-1].asked_xyxy.tolist() == [20, 12, 44, 36], "the middle of the view"
        np.testing.assert_array_equal(found[-1].frames_F, second)
    assert stage.film(next(iter(maps.videos)), maps, **videos)[1].shape == (8,)


def test_the_box_that_is_asked_for(make_frames: Any) -> None:
    video = make_frames(kind=Shard, num_frames=12, size=(48, 64))
    frames, view = np.arange(0, 8, dtype=np.int32), np.array([8, 0, 56, 48], np.float32)

    def boxes(rows: list[tuple[int, list[float]]]) -> Boxes:
        return Boxes(
            "a.mp4", 12, 96, 128,
            frame=np.array([frame for frame, _ in rows], np.int32),
            xyxy=np.array([box for _, box in rows], np.float32).reshape(-1, 4),
        )  # fmt: skip

    rows = [
        (0, [0.0, 0, 128, 96]),
        (3, [20.0, 20, 60, 60]), (3, [0, 0, 60, 40]), (3, [100, 0, 128, 96]),
    ]  # fmt: skip
    frame, box = asked_box(boxes(rows), video, frames, view)
    assert frame == 4
    # In pixels of the stored frame 20 x 20 = 400, 22 x 20 = 440 and 6 x 48 = 288 are seen.
    assert box.tolist() == [8, 0, 30, 20]
    far = boxes([(11, [0.0, 0, 1, 1])])
    for nothing in (None, far, boxes([])):
        assert asked_box(nothing, video, frames, view)[1].tolist() == [20, 12, 44, 36]
