"""FAME around its mask: backgrounds, order, presets, contrast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import frames_of

from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build
from stages.learning.foreground_mask import foreground_masks
from stages.learning.objective import Objective
from stages.learning.pixels import to_unit
from stages.learning.sample import Sample
from stages.pretrain.methods.fame import FAME, permutation
from stages.pretrain.methods.moco import MoCo
from storage_schemas.shards import Shard

SMALL: dict[str, Any] = {
    "num_frames": 4,
    "size": 48,
    "contrast": {"hidden": 16, "queue_size": 32},
    "colour": False,
}


def fame(**parameters: Any) -> FAME:
    return FAME(**{**SMALL, **parameters})


def objective_of(method: FAME) -> Objective:
    torch.manual_seed(0)
    return Objective(method, build(EncoderSpec(width=4), **method.encoder_options))


def batch_of(method: FAME, count: int = 3) -> dict[str, torch.Tensor]:
    rows = [
        method.views(
            Sample(frames=frames_of(f"{i}.mp4", kind=Shard, num_frames=12, size=(72, 80), seed=i)),
            np.random.default_rng(i),
        )
        for i in range(count)
    ]
    return {k: torch.from_numpy(np.stack([row[k] for row in rows])) for k in rows[0]}


def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def test_constants_are_the_published_ones() -> None:
    """fame.md sections 2 to 4; all but the queue's size are those of the MoCo baseline."""
    assert FAME().model_dump() == {
        **MoCo().model_dump(),
        "name": "fame",
        "version": FAME.version,
        "preset": "paper",
        "foreground": {
            "area": 0.5, "by": "colour", "moving_seeds": 0.5, "still_seeds": 0.1, "bins": 10,
            "hue": "reference", "blur": 0.1,
        },
        "group": 8,
        "keep_own": True,
        "order": "merge_first",
        "contrast": {**MoCo().contrast.model_dump(), "queue_size": 65536},
        "frozen_blur": False,
    }  # fmt: skip


def test_presets_say_what_they_stand_for() -> None:
    paper, reference, intended = (FAME(preset=p) for p in ("paper", "reference", "intended"))
    assert FAME() == paper
    assert (paper.foreground.hue, reference.foreground.hue) == ("reference", "reference")
    assert intended.foreground.hue == "intended"
    assert [p.contrast.reread_queue for p in (paper, reference, intended)] == [False, True, False]
    assert [p.frozen_blur for p in (paper, reference, intended)] == [False, True, False]
    pivots = [p.colour_law.contrast_around for p in (paper, reference, intended)]
    assert pivots == ["luma", "frame_luma", "luma"]
    assert {p.contrast.queue_size for p in (paper, reference, intended)} == {65536}
    mixed = FAME(preset="reference", contrast={"queue_size": 64})
    assert (mixed.contrast.queue_size, mixed.contrast.reread_queue) == (64, True)


def test_published_projector_of_i3d() -> None:
    encoder = build(EncoderSpec(name="i3d"))
    heads = FAME(contrast={"hidden": 1024, "queue_size": 8}).heads(encoder)
    assert sum(p.numel() for p in heads["projector"].parameters()) == 1_180_800


def test_clips_shorter_than_a_window_are_looped() -> None:
    method = fame(num_frames=8, frame_stride=2)
    still = Sample(frames=frames_of("a.mp4", kind=Shard, num_frames=3, size=(72, 80)))
    views = method.views(still, rng())
    assert views["first"].shape == (8, 48, 48, 3)
    assert (views["first"][0] == views["first"][3]).all()  # 2 * 3 is twice the video


def test_windows_differ_where_they_can() -> None:
    """Five frames have two windows of four; a frame's number is its grey."""
    frames = np.repeat(40 * np.arange(5, dtype=np.uint8), 72 * 80 * 3).reshape(5, 72, 80, 3)
    method = fame(frame_stride=1)
    for length, differ in ((5, True), (4, False)):
        sample = Sample(frames=frames_of("a.mp4", frames[:length], kind=Shard))
        for seed in range(20):
            views = method.views(sample, np.random.default_rng(seed))
            starts = [round(view[0].mean() / 40) for view in views.values()]
            assert (starts[0] != starts[1]) == differ


@pytest.mark.parametrize("group", [1, 3, 4, 8, None])
def test_backgrounds_come_from_the_group(group: int | None) -> None:
    method = fame(group=group)
    size = min(group or 8, 8)
    for seed in range(20):
        chosen = method.backgrounds(np.random.default_rng(seed), batch=8)
        assert sorted(chosen) == list(range(8))
        assert (chosen // size == np.arange(8) // size).all()


def test_backgrounds_of_ranks_are_rows_of_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two devices with 8 clips, each in groups of 4, choose as one device with 16."""
    method = fame(group=4)
    whole = method.backgrounds(rng(), batch=16)
    halves = []
    for rank in range(2):
        monkeypatch.setattr("stages.learning.distributed.world_size", lambda: 2)
        monkeypatch.setattr("stages.learning.distributed.rank", lambda rank=rank: rank)
        halves.append(method.backgrounds(rng(), batch=8) + 8 * rank)
    np.testing.assert_array_equal(np.concatenate(halves), whole)


def test_own_backgrounds() -> None:
    """A permutation keeps one place on average, a cycle none; every other is as likely."""
    generator = np.random.default_rng(0)
    free = np.stack([permutation(generator, 8, fixed_points=True) for _ in range(3000)])
    assert (free == np.arange(8)).sum(1).mean() == pytest.approx(1, abs=0.1)
    cycles = np.stack([permutation(generator, 8, fixed_points=False) for _ in range(3000)])
    assert not (cycles == np.arange(8)).any()
    shares = np.stack([(cycles == k).mean(0) for k in range(8)])
    np.testing.assert_allclose(shares[~np.eye(8, dtype=bool)], 1 / 7, atol=0.03)
    assert permutation(generator, 1, fixed_points=False).tolist() == [0]


def test_only_the_first_view_is_merged_and_with_the_drawn_background() -> None:
    method = fame(keep_own=False)
    objective, batch = objective_of(method), batch_of(method)
    clips = to_unit(batch["first"])
    merged = method.merge(objective, clips, rng())
    mask = foreground_masks(clips, method.foreground)[:, None, None].expand_as(clips)
    background = torch.from_numpy(method.backgrounds(rng(), batch=3))
    assert torch.equal(merged[mask], clips[mask])
    assert torch.equal(merged[~mask], clips[background][~mask])
    seen: list[torch.Tensor] = []
    objective.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    objective(batch, rng())
    mean, std = (torch.tensor(v).view(1, 3, 1, 1, 1) for v in (method.mean, method.std))
    torch.testing.assert_close(seen[0] * std + mean, merged, atol=1e-6, rtol=0)
    torch.testing.assert_close(seen[1] * std + mean, to_unit(batch["second"]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("area", "own"), [(1.0, True), (0.0, False)])
def test_extreme_areas(area: float, own: bool) -> None:
    method = fame(foreground={"area": area}, keep_own=False)
    clips = to_unit(batch_of(method)["first"])
    background = torch.from_numpy(method.backgrounds(rng(), batch=3))
    merged = method.merge(objective_of(method), clips, rng())
    assert torch.equal(merged, clips if own else clips[background])


def test_order_of_merging_and_colours() -> None:
    """Colours after merging are of one draw; before it, background and foreground differ."""
    law = {"grey_probability": 0.5, "jitter_probability": 0, "blur_probability": 0}
    greys = {}
    for order in ("merge_first", "colour_first"):
        method = fame(colour=True, colour_law=law, order=order, keep_own=False)
        clips = to_unit(batch_of(method, 8)["first"])
        merged = method.merge(objective_of(method), clips, rng())
        mask = foreground_masks(clips, method.foreground)
        grey = (merged.amax(1) - merged.amin(1)).amax(1) < 1e-6
        greys[order] = [
            (bool(g[m].all()), bool(g[~m].all())) for g, m in zip(grey, mask, strict=True)
        ]
    assert set(greys["merge_first"]) == {(True, True), (False, False)}
    assert {(True, False), (False, True)} & set(greys["colour_first"])


def test_frozen_blur_is_drawn_once_and_kept_by_checkpoints() -> None:
    """Every clip is blurred alike, as it is after a restart with another seed."""
    law = {"grey_probability": 0, "jitter_probability": 0, "blur_probability": 1}
    method = fame(frozen_blur=True, colour=True, colour_law=law, foreground={"area": 1})
    objective = objective_of(method)
    clip = to_unit(batch_of(method)["first"])[:1]
    a, b = (method.merge(objective, clip, np.random.default_rng(seed)) for seed in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, clip)
    torch.manual_seed(1)
    other = Objective(method, build(EncoderSpec(width=4), **method.encoder_options))
    assert not torch.equal(method.merge(other, clip, rng()), a)
    other.load_state_dict(objective.state_dict())
    assert torch.equal(method.merge(other, clip, rng()), a)
    free = method.model_copy(update={"frozen_blur": False})
    a, b = (free.merge(objective, clip, np.random.default_rng(seed)) for seed in range(2))
    assert not torch.equal(a, b)


def test_reference_meets_its_own_keys_and_the_paper_does_not() -> None:
    """With equal encoders a negative of the second pass is then the query itself.

    Its similarity is 1, so its logit is as large as any can be: 1 / temperature.
    """
    losses = {}
    for preset in ("paper", "reference"):
        method = fame(preset=preset, frozen_blur=False, contrast={"hidden": 16, "queue_size": 8})
        objective = objective_of(method).eval()
        before = objective.heads["queue"].keys_KD.clone()  # type: ignore[union-attr, operator]
        step = objective(batch_of(method), rng())
        assert torch.equal(objective.heads["queue"].keys_KD, before)
        losses[preset] = step.loss.item()
        method.after_step(objective, step)
        assert int(objective.heads["queue"].place) == (2 * 3) % 8  # type: ignore[arg-type]
    assert losses["reference"] > losses["paper"] + 0.1


def test_second_pass_of_worked_logits() -> None:
    """Positive .8, own key .95 among 2048 negatives: the loss is 1.819 instead of .523."""
    from stages.learning.contrastive import info_nce

    clean = torch.zeros(1, 1 + 2048)
    clean[0, 0] = 0.8 / 0.1
    own = clean.clone()
    own[0, 1] = 0.95 / 0.1
    assert info_nce(clean).item() == pytest.approx(0.523, abs=5e-4)
    assert info_nce(own).item() == pytest.approx(1.819, abs=5e-4)


def test_picture_shows_views_and_mask() -> None:
    method = fame()
    batch = batch_of(method, 1)
    picture = method.picture({name: view[0].numpy() for name, view in batch.items()})
    assert picture.dtype == np.uint8
    assert picture.shape[0] > 3 * 120
