"""What every method must keep; a new file in ``methods/`` is picked up by itself."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import frames_of

from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build
from stages.learning.health import Health
from stages.learning.method import Method, ShowsMaps
from stages.learning.objective import Objective, load_objective, trained_heads
from stages.learning.sample import Sample
from stages.synthesize.synthesize import Synthesize
from storage_schemas.boxes import Boxes, encode_mask
from storage_schemas.encoders import EncoderFiles
from storage_schemas.shards import Shard

# Parameters that make a method small; methods without an entry run with their defaults.
SMALL: dict[str, dict[str, Any]] = {
    "constcl": {
        "num_frames": 8,
        "frame_stride": 1,
        "size": 32,
        "boxes": "proposals",
        "clip": {"hidden": 16},
        "region": {"dim": 8, "weight": 1.0},
    },
    "ctp": {"num_frames": 8, "size": 64, "hidden": 16, "strides": (1,), "initial_std": 0.05},
    # Backgrounds are exchanged in pairs, always: pairs lie on one device for any number of
    # devices. Larger groups than a device's share must depend on the number by design.
    "fame": {
        "num_frames": 8,
        "size": 48,
        "group": 2,
        "keep_own": False,
        "contrast": {"hidden": 16, "queue_size": 8},
    },
    "moco": {"num_frames": 8, "size": 48, "contrast": {"hidden": 16, "queue_size": 8}},
    "previts": {
        "num_frames": 4,
        "size": 48,
        "min_valid_frames": 4,
        "relative": {"queue_size": 8},
    },
    "simclr": {"num_frames": 8, "frame_stride": 1, "size": 32, "clip": {"hidden": 16}},
    "rspnet": {"num_frames": 4, "size": 48, "relative": {"queue_size": 8}},
}

pytestmark = pytest.mark.parametrize("name", Method.names())


def make_method(name: str) -> Method:
    return Method.find(name)(**SMALL.get(name, {}))


def make_sample(make_frames: Any, tmp_path: Path, seed: int = 0) -> Sample:
    from pipeline.stage import Context

    bank = Synthesize(num_frames=8, size=64, num_trajectories=4).run(ctx=Context(work=tmp_path))
    frames = make_frames(f"{seed}.mp4", kind=Shard, num_frames=12, size=(72, 80), seed=seed)
    return Sample(
        frames=frames,
        trajectories=bank,
        tubes=tube_of(frames),
        proposals=proposals_of(frames, seed),
    )


def tube_of(frames: Shard) -> Boxes:
    """The square of the test video, as a tube that is sure in every frame."""
    count, height, width = len(frames), frames.height, frames.width
    left = np.array([4 + (2 * t) % max(1, width - 20) for t in range(count)])
    masks = np.zeros((count, height, width), np.bool_)
    for t, x in enumerate(left):
        masks[t, 10:22, x : x + 12] = True
    return Boxes(
        video_id=frames.video_id,
        num_frames=count,
        height=height,
        width=width,
        frame=np.arange(count, dtype=np.int32),
        xyxy=np.stack([left, 0 * left + 10, left + 12, 0 * left + 22], 1).astype(np.float32),
        score=np.ones(count, np.float32),
        track=np.zeros(count, np.int32),
        mask_runs=[encode_mask(mask) for mask in masks],
    )


def proposals_of(frames: Shard, seed: int) -> Boxes:
    """Two boxes in every frame, small enough to leave some crops."""
    rng = np.random.default_rng(seed)
    corner_N2 = rng.integers(0, 50, (2 * len(frames), 2))
    return Boxes(
        video_id=frames.video_id,
        num_frames=len(frames),
        height=frames.height,
        width=frames.width,
        frame=np.repeat(np.arange(len(frames), dtype=np.int32), 2),
        xyxy=np.concatenate([corner_N2, corner_N2 + 20], 1).astype(np.float32),
    )


def make_batch(
    method: Method, make_frames: Any, tmp_path: Path, *, count: int = 2
) -> dict[str, torch.Tensor]:
    rows = [
        method.views(make_sample(make_frames, tmp_path, seed), np.random.default_rng(seed))
        for seed in range(count)
    ]
    return {k: torch.from_numpy(np.stack([row[k] for row in rows])) for k in rows[0]}


def make_objective(method: Method) -> Objective:
    torch.manual_seed(0)
    return Objective(method, build(EncoderSpec(width=4), **method.encoder_options))


def rng() -> np.random.Generator:
    return np.random.default_rng(9)


def test_equal_generators_give_equal_views(name: str, make_frames: Any, tmp_path: Path) -> None:
    method, sample = make_method(name), make_sample(make_frames, tmp_path)
    a, b = (method.views(sample, np.random.default_rng(3)) for _ in range(2))
    assert a.keys() == b.keys()
    assert all((a[k] == b[k]).all() for k in a)
    c = method.views(sample, np.random.default_rng(4))
    assert any((a[k] != c[k]).any() for k in a)


def test_loss_and_gradients(name: str, make_frames: Any, tmp_path: Path) -> None:
    method = make_method(name)
    objective = make_objective(method)
    step = objective(make_batch(method, make_frames, tmp_path), rng())
    assert torch.isfinite(step.loss)
    step.loss.backward()
    for label, parameter in objective.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, label


# Parts of the loss, how well the task is solved, and how pairs and vectors lie.
PAIRS = {"alignment", "uniformity"}
METRICS: dict[str, set[str]] = {
    "constcl": {"clip", "region", "clip_accuracy", "region_accuracy", *PAIRS},
    "ctp": {"centre", "size", "iou"},
    "fame": {"contrast_accuracy", "contrast_top5", *PAIRS},
    "moco": {"contrast_accuracy", "contrast_top5", *PAIRS},
    "previts": {"video", "speed", "attention", "contrast_accuracy", "speed_accuracy", *PAIRS},
    "rspnet": {"video", "speed", "contrast_top5", "speed_accuracy", *PAIRS},
    "simclr": {"clip_accuracy", *PAIRS},
}


def test_metrics_tell_the_state_of_the_training(
    name: str, make_frames: Any, tmp_path: Path
) -> None:
    method = make_method(name)
    objective = make_objective(method)
    health = Health(objective.encoder)
    step = objective(make_batch(method, make_frames, tmp_path), rng())
    assert step.metrics.keys() >= METRICS.get(name, set())
    assert health.metrics().keys() == {"feature_std", "effective_rank"}
    for key, value in {**step.metrics, **health.metrics()}.items():
        assert value.ndim == 0, key
        assert torch.isfinite(value), key
        assert not value.requires_grad, key


def test_save_load_step_is_bit_equal(name: str, make_frames: Any, tmp_path: Path) -> None:
    method = make_method(name)
    batch = make_batch(method, make_frames, tmp_path)

    def step(objective: Objective, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        result = objective(batch, rng())
        result.loss.backward()
        optimiser.step()
        method.after_step(objective, result)

    def optimiser_of(objective: Objective) -> torch.optim.Optimizer:
        return torch.optim.SGD(objective.parameters(), lr=0.01, momentum=0.9)

    straight = make_objective(method)
    optimiser = optimiser_of(straight)
    step(straight, optimiser)
    saved = copy.deepcopy((straight.state_dict(), optimiser.state_dict()))
    step(straight, optimiser)
    resumed = make_objective(method)
    other = optimiser_of(resumed)
    resumed.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    step(resumed, other)
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_loss_falls_on_two_samples(name: str, make_frames: Any, tmp_path: Path) -> None:
    method = make_method(name)
    batch = make_batch(method, make_frames, tmp_path)
    objective = make_objective(method)
    optimiser = torch.optim.SGD(objective.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        result = objective(batch, rng())
        result.loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 40)
        optimiser.step()
        method.after_step(objective, result)
        losses.append(result.loss.item())
    # From its early peak: a queue of noise makes the first steps easy.
    assert np.mean(losses[-3:]) < 0.9 * max(losses[:6]), losses


def test_eval_changes_no_buffer(name: str, make_frames: Any, tmp_path: Path) -> None:
    method = make_method(name)
    objective = make_objective(method).eval()
    before = copy.deepcopy(dict(objective.named_buffers()))
    with torch.no_grad():
        objective(make_batch(method, make_frames, tmp_path), rng())
    for key, value in objective.named_buffers():
        assert torch.equal(value, before[key]), key


def test_trained_heads_come_back(name: str, tmp_path: Path) -> None:
    """From the files of an artifact: what gradients reach, and nothing that is large besides."""
    objective = make_objective(make_method(name))
    kept = trained_heads(objective)
    torch.save(objective.encoder.state_dict(), tmp_path / "encoder.pt")
    torch.save(kept, tmp_path / "heads.pt")
    EncoderFiles.describe(
        tmp_path,
        EncoderSpec(width=4).model_dump(mode="json"),
        **objective.method.standardisation._asdict(),
        method=json.loads(objective.method.model_dump_json()),
    )
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again = load_objective(EncoderFiles.open(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)
    assert again.method == objective.method
    assert not again.training
    trained = {key for key, value in objective.named_parameters() if value.requires_grad}
    found = again.state_dict()
    for key, value in objective.state_dict().items():
        if key in trained or key.startswith("encoder."):
            torch.testing.assert_close(found[key], value, rtol=0, atol=0)
    assert {key.removeprefix("heads.") for key in trained if key.startswith("heads.")} <= set(kept)
    assert not any(key.startswith(("twin_", "queue")) for key in kept)


def test_the_encoder_is_fed_as_the_method_says(name: str, make_frames: Any, tmp_path: Path) -> None:
    """Evaluation feeds it by `Method.standardisation`, too."""
    method = make_method(name)
    if "colour" in type(method).model_fields:
        method = method.model_copy(update={"colour": False})
    objective, seen = make_objective(method), []
    objective.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    colour = torch.tensor([10, 100, 200], dtype=torch.uint8)
    batch = make_batch(method, make_frames, tmp_path)
    for values in batch.values():
        if values.dtype == torch.uint8 and values.shape[-1] == 3:
            values[:] = colour
    objective(batch, rng())
    mean, std = (torch.tensor(values) for values in method.standardisation)
    expected = ((colour / 255 - mean) / std).view(1, 3, 1, 1, 1)
    torch.testing.assert_close(seen[0], expected.expand_as(seen[0]), rtol=1e-5, atol=1e-5)


TWO_PROCESSES = """
import os, sys, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
sys.path[:0] = [{here!r}, {tests!r}]
import test_method_contract as contract
batches = torch.load({path!r}, weights_only=True)
dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
share, found = {count} // world, {{}}
for name, batch in batches.items():
    objective = contract.make_objective(contract.make_method(name)).eval()
    model = DistributedDataParallel(objective, broadcast_buffers=False) if world > 1 else objective
    mine = {{k: v[rank * share : (rank + 1) * share] for k, v in batch.items()}}
    step = model(mine, contract.rng())
    step.loss.backward()
    objective.method.after_step(objective, step)
    loss = step.loss.detach().clone()
    dist.all_reduce(loss)
    gradients = [p.grad for p in objective.parameters() if p.requires_grad]
    found[name] = {{
        "loss": loss / world,
        "gradient": torch.cat([g.flatten() for g in gradients]),
        "buffers": torch.cat([b.flatten().float() for b in objective.buffers()]),
    }}
if rank == 0:
    torch.save(found, sys.argv[1])
dist.barrier()
# What is compared is on the disk; gloo's threads abort now and then when they are torn down
# ("terminate called without an active exception"), which says nothing of the method.
os._exit(0)
"""


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """One step of every method in one process and in two; processes are slow to start."""
    folder = tmp_path_factory.mktemp("worlds")
    here = Path(__file__).parent
    count = 4  # two on each of two devices: what a device mixes among its own clips is mixed
    batches = {
        name: make_batch(make_method(name), frames_of, folder, count=count)
        for name in Method.names()
    }
    path, script = folder / "batches.pt", folder / "worlds.py"
    torch.save(batches, path)
    script.write_text(
        TWO_PROCESSES.format(
            here=str(here), tests=str(here.parents[1]), path=str(path), count=count
        )
    )
    found = {}
    for world in (1, 2):
        target = folder / f"{world}.pt"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        done = subprocess.run(
            [*command, "--nproc-per-node", str(world), str(script), str(target)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found[world] = torch.load(target, weights_only=True)
    return found


@pytest.mark.xdist_group("worlds")
def test_two_processes_give_loss_gradient_and_queue_of_one(
    name: str, worlds: dict[int, dict[str, Any]]
) -> None:
    """With frozen batch statistics, and all random draws as in a real step."""
    one, two = worlds[1][name], worlds[2][name]
    torch.testing.assert_close(two["loss"], one["loss"], rtol=1e-5, atol=1e-6)
    scale = one["gradient"].abs().max()
    assert (two["gradient"] - one["gradient"]).abs().max() < 1e-4 * scale
    torch.testing.assert_close(two["buffers"], one["buffers"], rtol=1e-4, atol=1e-5)


def test_parameters_survive_json(name: str) -> None:
    method = make_method(name)
    again = Method.choose(json.loads(json.dumps(method.model_dump(mode="json"))))
    assert again == method


def test_maps_fit_their_clips_and_change_nothing(
    name: str, make_frames: Any, tmp_path: Path
) -> None:
    """Of methods that have any; others must not look as if they had."""
    method = make_method(name)
    assert isinstance(method, ShowsMaps) == hasattr(method, "maps")
    if not isinstance(method, ShowsMaps):
        return
    objective = make_objective(method).eval()
    before = copy.deepcopy(objective.state_dict())
    pixels = torch.randn(2, 3, 8, 48, 48, generator=torch.Generator().manual_seed(0))
    box = torch.tensor([0.25, 0.25, 0.75, 0.75])
    with torch.inference_mode():
        found = list(method.maps(objective, pixels, box))
        again = list(method.maps(objective, pixels, box))
    assert found
    for one, same in zip(found, again, strict=True):
        assert one.values_THW.ndim == 3
        assert one.values_THW.isfinite().all()
        assert torch.equal(one.values_THW, same.values_THW)
        assert one.clip in (0, 1)
        assert 0 <= one.covers[0] < one.covers[1] <= 1
    for key, value in objective.state_dict().items():
        assert torch.equal(value, before[key]), key
