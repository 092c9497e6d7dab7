"""PreViTS: when and where views are drawn, and what the attention loss reaches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import moving_square

from stages.learning.attention import attention_loss, shrink_mask, similarity_map
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build
from stages.learning.objective import Objective
from stages.learning.photometric import network_input
from stages.learning.sample import Sample
from stages.pretrain.methods.previts import PreViTS
from stages.pretrain.methods.rspnet import RSPNet
from storage_schemas.boxes import Boxes, encode_mask
from storage_schemas.errors import ParameterError
from storage_schemas.shards import Shard

LENGTH, SIZE = 120, (48, 64)
VIEWS = ("query", "key")


def test_constants_are_the_published_ones() -> None:
    """previts.md sections 4 to 6; the video model's base is RSPNet, the image model's MoCo."""
    rspnet = RSPNet()
    assert PreViTS().model_dump() == {
        "name": "previts",
        "version": PreViTS.version,
        "preset": "paper",
        "model": "video",
        "num_frames": 16,
        "size": 224,
        "crop_area": (0.4, 1.0),
        "constrain_time": True,
        "constrain_crop": True,
        "min_valid_frames": 60,
        "min_valid_share": 0.0,
        "max_gap": None,
        "min_tube_score": 0.5,
        "min_cover": 0.3,
        "cover": "mask",
        "attention_weight": 3.0,
        "relu_first": True,
        "mask_pooling": "area",
        "relative": rspnet.relative.model_dump(),
        "contrast": {
            "dim": 128, "hidden": None, "temperature": 0.07, "momentum": 0.999,
            "queue_size": 65536, "symmetric": False, "reread_queue": False,
        },
        "colour": True,
        "colour_law": rspnet.colour_law.model_dump(),
    }  # fmt: skip


def sample_of(make_frames: Any, valid: range, *, box: tuple[int, int, int, int]) -> Sample:
    """Frames whose number is their grey level, and a tube that is sure in `valid`."""
    stills = np.zeros((LENGTH, *SIZE, 3), np.uint8)
    stills += (2 * np.arange(LENGTH, dtype=np.uint8))[:, None, None, None]
    frames = make_frames("a.mp4", stills, kind=Shard)
    mask = np.zeros(SIZE, np.bool_)
    mask[box[1] : box[3], box[0] : box[2]] = True
    score = np.array([float(t in valid) for t in range(LENGTH)], np.float32)
    tubes = Boxes(
        video_id="a.mp4",
        num_frames=LENGTH,
        height=SIZE[0],
        width=SIZE[1],
        frame=np.arange(LENGTH, dtype=np.int32),
        xyxy=np.tile(np.float32(box), (LENGTH, 1)),
        score=score,
        track=np.zeros(LENGTH, np.int32),
        mask_runs=[encode_mask(mask)] * LENGTH,
    )
    return Sample(frames=frames, tubes=tubes)


def middle_frame(clip: np.ndarray) -> int:
    return round(float(clip[len(clip) // 2].mean()) / 2)


def test_accepted_middle_frames_are_sure_ones(make_frames: Any) -> None:
    method = PreViTS(num_frames=4, size=32, min_valid_frames=10)
    sample = sample_of(make_frames, range(50, 90), box=(10, 10, 30, 30))
    seen = set()
    for seed in range(150):
        views = method.views(sample, np.random.default_rng(seed))
        assert views["has_mask"] == 1
        for name in ("query", "key"):
            seen.add(middle_frame(views[name]))
            assert views[f"{name}_mask"].any()
    assert seen <= set(range(50, 90))
    assert len(seen) > 30  # all over the tube


def test_too_few_sure_frames_sample_as_without_a_tube(make_frames: Any) -> None:
    sample = sample_of(make_frames, range(20, 79), box=(10, 10, 30, 30))  # 59 of them
    method = PreViTS(num_frames=4, size=32)
    middles = set()
    for seed in range(40):
        views = method.views(sample, np.random.default_rng(seed))
        assert views["has_mask"] == 0
        assert not views["query_mask"].any()
        middles.add(middle_frame(views["query"]))
    assert middles - set(range(20, 79))


@pytest.mark.parametrize("gap", [0, 5, 90])
def test_views_may_be_asked_to_lie_near_each_other(make_frames: Any, gap: int) -> None:
    sample = sample_of(make_frames, range(20, 110), box=(10, 10, 30, 30))
    gaps = set()
    for seed in range(60):
        views = PreViTS(num_frames=4, size=32, max_gap=gap).views(
            sample, np.random.default_rng(seed)
        )
        middles = [middle_frame(views[name]) for name in VIEWS]
        assert set(middles) <= set(range(20, 110))
        gaps.add(abs(middles[0] - middles[1]))
    assert max(gaps) <= gap
    assert len(gaps) > min(gap, 30) / 2


@pytest.mark.parametrize(("share", "used"), [(0.5, 1), (0.6, 0)])
def test_sure_frames_may_be_asked_to_be_a_share(make_frames: Any, share: float, used: int) -> None:
    sample = sample_of(make_frames, range(30, 100), box=(10, 10, 30, 30))  # 70 of 120
    method = PreViTS(num_frames=4, size=32, min_valid_share=share)
    assert method.views(sample, np.random.default_rng(0))["has_mask"] == used


def test_of_several_tubes_the_one_sure_longest_counts(make_frames: Any) -> None:
    first = sample_of(make_frames, range(0, 70), box=(2, 2, 12, 12)).tubes
    second = sample_of(make_frames, range(10, 100), box=(40, 30, 60, 44)).tubes
    assert first is not None
    assert second is not None
    order = np.argsort(np.concatenate([first.frame, second.frame]), kind="stable")
    both = Boxes(
        video_id="a.mp4",
        num_frames=LENGTH,
        height=SIZE[0],
        width=SIZE[1],
        frame=np.concatenate([first.frame, second.frame])[order],
        xyxy=np.concatenate([first.xyxy, second.xyxy])[order],
        score=np.concatenate([first.score, second.score])[order],
        track=np.repeat(np.int32([0, 1]), LENGTH)[order],
        mask_runs=[[*first.mask_runs, *second.mask_runs][i] for i in order],
    )
    rows = PreViTS()._rows_by_frame(both)
    assert sorted(rows) == list(range(10, 100))
    assert all((both.xyxy[row] == [40, 30, 60, 44]).all() for row in rows.values())


def test_mask_and_clip_are_cut_and_mirrored_together(make_frames: Any) -> None:
    frames = make_frames("a.mp4", moving_square(12, size=(64, 80)), kind=Shard)
    count, left = 12, np.array([4 + (2 * t) % 60 for t in range(12)])
    masks = np.zeros((count, 64, 80), np.bool_)
    for t, x in enumerate(left):
        masks[t, 10:22, x : x + 12] = True
    tubes = Boxes(
        video_id="a.mp4",
        num_frames=count,
        height=64,
        width=80,
        frame=np.arange(count, dtype=np.int32),
        xyxy=np.stack([left, 0 * left + 10, left + 12, 0 * left + 22], 1).astype(np.float32),
        score=np.ones(count, np.float32),
        track=np.zeros(count, np.int32),
        mask_runs=[encode_mask(mask) for mask in masks],
    )
    method = PreViTS(num_frames=4, size=64, min_valid_frames=4)
    for seed in range(20):
        views = method.views(Sample(frames=frames, tubes=tubes), np.random.default_rng(seed))
        middle, mask = views["query"][4], views["query_mask"].astype(bool)
        bright = middle[..., 0] > 180  # the square is red
        overlap = (bright & mask).sum() / max(1, (bright | mask).sum())
        assert overlap > 0.7, seed  # JPEG softens the edges of red


@pytest.mark.parametrize("scale", [2, 3])
def test_masks_of_larger_frames_lie_on_the_pixels_of_a_shrunk_shard(
    make_frames: Any, scale: int
) -> None:
    """Tubes come from the decoded frames, shards may be stored smaller."""
    stills = np.zeros((12, 48, 64, 3), np.uint8)
    stills[:, 12:36, 30:54, 0] = 255
    frames = make_frames("a.mp4", stills, kind=Shard)
    mask = np.zeros((48 * scale, 64 * scale), np.bool_)
    mask[12 * scale : 36 * scale, 30 * scale : 54 * scale] = True
    tubes = Boxes(
        video_id="a.mp4",
        num_frames=12,
        height=48 * scale,
        width=64 * scale,
        frame=np.arange(12, dtype=np.int32),
        xyxy=np.tile(np.float32([30, 12, 54, 36]) * scale, (12, 1)),
        score=np.ones(12, np.float32),
        track=np.zeros(12, np.int32),
        mask_runs=[encode_mask(mask)] * 12,
    )
    method = PreViTS(num_frames=4, size=64, min_valid_frames=4)
    for seed in range(20):
        views = method.views(Sample(frames=frames, tubes=tubes), np.random.default_rng(seed))
        shown = views["query_mask"].astype(bool)
        bright = views["query"][4, ..., 0] > 128
        assert views["has_mask"] == 1
        assert (bright & shown).sum() > 0.85 * (bright | shown).sum(), seed


def test_tubes_of_other_frames_are_refused(make_frames: Any) -> None:
    sample = sample_of(make_frames, range(100), box=(10, 10, 30, 30))
    fewer = Sample(frames=make_frames("a.mp4", kind=Shard, num_frames=50), tubes=sample.tubes)
    with pytest.raises(ParameterError, match="120 frames, the shard has 50"):
        PreViTS().views(fewer, np.random.default_rng(0))


def objective_of(method: PreViTS) -> Objective:
    torch.manual_seed(0)
    return Objective(method, build(EncoderSpec(width=4)))


def batch_of(has_mask: list[int], *, masks: torch.Tensor | None = None) -> dict[str, Any]:
    count = len(has_mask)
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(count, 48, 48, dtype=torch.uint8)
    mask[:, 8:40, 8:32] = 1
    clips = {
        name: torch.randint(0, 255, (count, 8, 48, 48, 3), generator=generator, dtype=torch.uint8)
        for name in ("query", "key")
    }
    masks = mask if masks is None else masks
    return {**clips, "query_mask": masks, "key_mask": masks, "has_mask": torch.tensor(has_mask)}


def small(**changes: Any) -> PreViTS:
    relative = {"queue_size": 8, "dim": 6}
    return PreViTS(num_frames=4, size=48, relative=relative, colour=False, **changes)


def test_total_is_base_plus_weighted_attention() -> None:
    batch = batch_of([1, 1, 0, 1])
    found = {}
    for weight in (0.0, 3.0):
        objective = objective_of(small(attention_weight=weight)).eval()
        found[weight] = objective(batch, np.random.default_rng(0))
    assert "attention" not in found[0.0].metrics
    attention = found[3.0].metrics["attention"]
    assert 0 < attention < 1
    torch.testing.assert_close(found[3.0].loss, found[0.0].loss + 3 * attention)


@pytest.mark.parametrize("model", ["video", "image"])
def test_attention_is_the_query_seen_by_the_object_of_the_key(model: Any) -> None:
    """previts.md section 5.3: whose features, projector, speed and mask stand where."""
    method = small(model=model, contrast={"queue_size": 8, "dim": 6})
    objective = objective_of(method).eval()
    heads: Any = objective.heads
    name = "video" if model == "video" else "projector"
    with torch.no_grad():  # part what is trained from its twin
        for parameter in [*objective.encoder.parameters(), *heads[name].parameters()]:
            parameter.mul_(1 + 0.3 * torch.rand(parameter.shape))
    batch = batch_of([1, 1, 0, 1])
    batch["key_mask"] = batch["query_mask"].roll(12, dims=2)
    if model == "image":
        batch |= {view: batch[view][:, :1] for view in ("query", "key")}
    step = objective(batch, np.random.default_rng(0))

    query, key = (network_input(batch[v], np.random.default_rng(0), law=None) for v in VIEWS)
    if model == "video":
        speeds = method.relative.split(query, key, 4, np.random.default_rng(0))
        query, key = speeds.query, speeds.same
    with torch.no_grad():
        found = heads["twin_encoder"](key * batch["key_mask"][:, None, None])
        seen = similarity_map(objective.encoder(query), heads[name], heads[f"twin_{name}"](found))
        small_mask = shrink_mask(batch["query_mask"], seen.shape[-2:], pooling="area")
        expected = attention_loss(seen, small_mask, batch["has_mask"])
    torch.testing.assert_close(step.metrics["attention"], expected)


def test_without_any_mask_only_the_base_is_left() -> None:
    found = [
        objective_of(small(attention_weight=weight)).eval()(
            batch_of([0, 0, 0, 0]), np.random.default_rng(0)
        )
        for weight in (0.0, 3.0)
    ]
    torch.testing.assert_close(found[1].loss, found[0].loss)


def test_attention_reaches_the_query_encoder_alone_and_queues_nothing_more() -> None:
    method = small(attention_weight=1.0)
    objective = objective_of(method)
    step = objective(batch_of([1, 1, 1, 1]), np.random.default_rng(0))
    step.loss.backward()
    for name, head in objective.heads.items():
        if name.startswith("twin_"):
            assert all(p.grad is None for p in head.parameters())
    method.after_step(objective, step)
    assert objective.heads["queue"].place == 4


def test_the_object_alone_is_shown_for_the_attention_pass(monkeypatch: Any) -> None:
    from stages.pretrain.methods import previts

    shown = []
    original = previts.encode_keys

    def listen(objective: Any, clips: Any, generator: Any) -> Any:
        shown.append(clips)
        return original(objective, clips, generator)

    monkeypatch.setattr(previts, "encode_keys", listen)
    batch = batch_of([1, 1])
    objective_of(small())(batch, np.random.default_rng(0))
    (clips,) = shown
    outside = batch["key_mask"][:, None, None].expand_as(clips) == 0
    assert (clips[outside] == 0).all()
    assert (clips[~outside] != 0).float().mean() > 0.9


def test_the_image_model_trains_on_single_frames(make_frames: Any) -> None:
    contrast = {"queue_size": 8, "dim": 6, "hidden": None, "symmetric": False}
    method = PreViTS(model="image", size=48, contrast=contrast, min_valid_frames=10)
    views = method.views(
        sample_of(make_frames, range(0, 100), box=(10, 10, 30, 30)), np.random.default_rng(0)
    )
    assert views["query"].shape == (1, 48, 48, 3)
    batch = {name: torch.from_numpy(np.stack([view] * 2)) for name, view in views.items()}
    step = objective_of(method)(batch, np.random.default_rng(0))
    step.loss.backward()
    assert torch.isfinite(step.loss)
    assert "attention" in step.metrics


@pytest.mark.parametrize(
    ("preset", "cover", "relu_first", "pooling", "momentum"),
    [("paper", 0.3, True, "area", 0.999), ("reference", 0.2, False, "points", 0.998001)],
)
def test_presets(
    preset: Any, cover: float, relu_first: bool, pooling: str, momentum: float
) -> None:
    method = PreViTS(preset=preset)
    assert (method.min_cover, method.relu_first, method.mask_pooling) == (
        cover, relu_first, pooling,
    )  # fmt: skip
    # Two moves of 0.999 a step: previts.md section 9.
    assert method.relative.momentum == pytest.approx(momentum, abs=1e-12)
    assert method.contrast.momentum == pytest.approx(momentum, abs=1e-12)
    assert (method.relative.margin, method.contrast.queue_size) == (2.0, 65536)


def blobs(rng: np.random.Generator, count: int = 8, side: int = 48) -> dict[str, torch.Tensor]:
    """A red disc somewhere on noise, and where it is; query and key show it elsewhere."""
    y, x = np.mgrid[:side, :side]
    batch = {"has_mask": torch.ones(count, dtype=torch.uint8)}
    for name in VIEWS:
        stills = rng.integers(60, 140, (count, 1, side, side, 3), dtype=np.uint8)
        centre = rng.integers(10, side - 10, (2, count, 1, 1))
        masks = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < 81
        stills[masks[:, None]] = (230, 60, 40)
        batch[name] = torch.from_numpy(stills.repeat(8, axis=1))
        batch[f"{name}_mask"] = torch.from_numpy(masks.astype(np.uint8))
    return batch


def test_attention_alone_teaches_the_encoder_to_look_at_the_object() -> None:
    """previts.md section 10, number 18: mean cosine of map and mask on blobs never seen."""
    torch.manual_seed(0)
    relative = {"queue_size": 8, "dim": 16, "video_weight": 0.0, "speed_weight": 0.0}
    method = PreViTS(num_frames=4, size=48, relative=relative, colour=False)
    objective = Objective(method, build(EncoderSpec(width=8), last_spatial_stride=1))
    optimiser = torch.optim.SGD(
        [p for p in objective.parameters() if p.requires_grad], lr=0.02, momentum=0.9
    )
    rng, cosines = np.random.default_rng(0), []
    for _ in range(15):
        step = objective(blobs(rng), rng)
        cosines.append(1 - step.metrics["attention"].item())
        optimiser.zero_grad()
        step.loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 5)
        optimiser.step()
        method.after_step(objective, step)
    assert cosines[0] < 0.6
    assert np.mean(cosines[-3:]) > 0.9
