"""CtP's trajectories and pasting, beside the published way, in one run on one thread.

``python benchmarks/patches.py`` prints process CPU times: the machine may be shared and
noisy, so ratios tell more than milliseconds. The peers are the published way (CtP, CVPR 2021;
see `published_ctp`) and the usual batched way, a dense `grid_sample`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from published_ctp import K, S, T, published_clip, published_draw
from rich.console import Console
from rich.table import Table

from pipeline.stage import Context
from stages.decode.decode import Decode
from stages.learning.paste import alpha_mask, describe, paste_patches
from stages.learning.paste_batch import paste_batch
from stages.learning.sample import Sample
from stages.pretrain.methods.ctp import CtP
from stages.shard.shard import MakeShard
from stages.synthesize.synthesize import Synthesize
from stages.synthesize.trajectories import sample_motion
from storage_schemas.trajectories import SHAPES, Trajectories
from storage_schemas.videos import VideoFile

CLIP_FILES = sorted((Path(__file__).parents[1] / "assets" / "clips").glob("*.mp4"))
BANK = 100_000
CLIPS = 64
ROUNDS = 7
COUNTED = 5_000


def grid_sample_batch(clips_BTSS3: torch.Tensor, patches: dict[str, torch.Tensor]) -> torch.Tensor:
    """Warp every patch over whole frames with `grid_sample`; masks come from the CPU."""
    out = clips_BTSS3.permute(0, 1, 4, 2, 3).float()
    clips = out
    boxes = patches["boxes"].float()
    sides = (boxes[..., 2:] - boxes[..., :2]).mean(2).prod(-1)
    rows = torch.arange(len(out), device=out.device)
    pixels = torch.arange(S, device=out.device) + 0.5
    for k in torch.argsort(-sides, dim=1).T:
        box = boxes[rows, k]
        frame = patches["source_frame"][rows, k]
        cut = box[rows, frame][:, None]
        image = torch.cat([clips[rows, frame], patches["mask"][rows, k, None]], 1)
        places = []
        inside = torch.ones(1, device=out.device, dtype=torch.bool)
        for axis in (0, 1):
            low, high = box[..., axis, None], box[..., axis + 2, None]
            start, end = cut[..., axis, None], cut[..., axis + 2, None]
            at = start + (pixels - low) / (high - low) * (end - start)
            within = (pixels > low) & (pixels < high)
            at = at.clamp(start + 0.5, end - 0.5) * (2 / S) - 1
            places.append(at)
            inside = inside & (within[:, :, None, :] if axis == 0 else within[:, :, :, None])
        grid = torch.stack(
            torch.broadcast_tensors(places[0][:, :, None, :], places[1][:, :, :, None]), -1
        )
        warped = torch.nn.functional.grid_sample(
            image[:, None].expand(-1, T, -1, -1, -1).flatten(0, 1),
            grid.flatten(0, 1),
            align_corners=False,
        ).unflatten(0, (len(out), T))
        alpha = warped[:, :, 3:] * inside[:, :, None]
        alpha = alpha * (patches["opacity"][rows, k] / 256)[..., None, None, None]
        out = out + alpha * (warped[:, :, :3] - out)
    return out.permute(0, 1, 3, 4, 2).byte()


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of one call in this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def private_bytes(folder: Path, mapped: bool, sent: Any) -> None:
    """Read 1,000 entries in a new process and tell what memory that took of its own."""

    def private() -> int:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))

    before = private()
    bank = Trajectories.open(folder)
    if not mapped:
        bank = Trajectories(bank.size, *(np.array(v) for v in vars(bank).values() if np.ndim(v)))
    for i in np.random.default_rng(0).integers(0, len(bank), 1000):
        bank[int(i)].boxes_KT4.sum()
    sent.put((private() - before) / 1024)


def memory(folder: Path, *, mapped: bool) -> float:
    """MiB that a loader worker holds privately for the bank."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    worker = context.Process(target=private_bytes, args=(folder, mapped, queue))
    worker.start()
    found: float = queue.get()
    worker.join()
    return found


def batch_of(bank: Trajectories, device: str) -> dict[str, torch.Tensor]:
    """Patches of the first clips, described for `paste_batch`, with masks for the peer."""
    rows = []
    for i in range(CLIPS):
        one = bank[i]
        masks = np.zeros((K, S, S), np.float32)
        for k in range(K):
            x1, y1, x2, y2 = (int(v) for v in one.boxes_KT4[k, one.source_frame_K[k]])
            masks[k, y1:y2, x1:x2] = alpha_mask(
                SHAPES[one.shape_K[k]], one.edge_K[k], height=y2 - y1, width=x2 - x1
            ) / np.float32(255)
        rows.append({"boxes": one.boxes_KT4.astype(np.float32), "mask": masks, **describe(one)})
    return {n: torch.from_numpy(np.stack([row[n] for row in rows])).to(device) for n in rows[0]}


def main() -> None:
    """Print the tables."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        work, data = Path(name) / "work", Path(name) / "data"
        work.mkdir()
        data.mkdir()

        def make(count: int) -> Trajectories:
            bank = Synthesize(num_trajectories=count).run(ctx=Context(work=work))
            bank.write(data)
            return Trajectories.open(data)

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        whole = cpu_seconds(lambda: make(BANK))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
        opening = min(cpu_seconds(lambda: Trajectories.open(data)) for _ in range(5))
        size = (data / "trajectories.h5").stat().st_size / 2**20
        console.print(
            f"bank of {BANK:,} x {K} patches: drawn, written and reopened in {whole:.2f} s CPU; "
            f"{size:.0f} MiB on disk, peak memory +{grown:.0f} MiB (mapped pages included); "
            f"opening takes {opening * 1e3:.1f} ms; private memory of a worker that read 1,000 "
            f"entries: {memory(data, mapped=True):.1f} MiB mapped, "
            f"{memory(data, mapped=False):.1f} MiB read into memory"
        )
        bank = Trajectories.open(data)
        statistics_table(bank, console)
        compare(bank, whole / BANK, console)


def statistics_table(bank: Trajectories, console: Console) -> None:
    """Figures of 5,000 clips of the bank and of 5,000 drawn the published way."""
    rng = np.random.default_rng(1)
    drawn = [published_draw(rng) for _ in range(COUNTED)]
    ours = bank.boxes_NKT4[:COUNTED].astype(float)
    theirs = np.stack([one.boxes for one in drawn]).astype(float)
    paths = sample_motion(np.random.default_rng(1), Synthesize().law(), COUNTED).centres_NKT2
    their_paths = np.stack([one.centres for one in drawn]).swapaxes(1, 2)

    def figures(
        boxes: NDArray[Any], centres: NDArray[Any], visible: NDArray[np.bool_]
    ) -> dict[str, float]:
        sides = boxes[..., 2:] - boxes[..., :2]
        net = np.abs(centres[:, :, -1] - centres[:, :, 0])
        return {
            "first width, mean": sides[:, :, 0, 0].mean(),
            "side, smallest": sides.min(),
            "side, largest": sides.max(),
            "last / first area, mean": (sides[:, :, -1].prod(-1) / sides[:, :, 0].prod(-1)).mean(),
            "way over the clip an axis, mean": net.mean(),
            "way over the clip an axis, largest": net.max(),
            "step of a centre, largest": np.abs(np.diff(centres, axis=2)).max(),
            "visible": visible.mean(),
        }

    a = figures(ours, paths, bank.visible_NKT[:COUNTED])
    b = figures(theirs, their_paths, np.stack([one.visible for one in drawn]))
    table = Table(f"{COUNTED:,} clips", "ours", "published way")
    for name in a:
        table.add_row(name, f"{a[name]:.3f}", f"{b[name]:.3f}")
    console.print(table)


def compare(bank: Trajectories, drawing: float, console: Console) -> None:
    """Milliseconds a clip of every way, taken in turns."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (CLIPS, T, S // 4, S // 4, 3), dtype=np.uint8)
    clips = np.stack([[cv2.resize(f, (S, S)) for f in clip] for clip in noise])
    tensor, described = torch.from_numpy(clips), batch_of(bank, "cpu")
    ways: dict[str, Callable[[], object]] = {
        "published way: draw and paste": lambda: [published_clip(rng, clip) for clip in clips],
        "worker path: paste": lambda: [
            paste_patches(clip, bank[i]) for i, clip in enumerate(clips)
        ],
        "device path on CPU: paste": lambda: [
            paste_batch(tensor[i : i + 16], {n: v[i : i + 16] for n, v in described.items()})
            for i in range(0, CLIPS, 16)
        ],
        "grid_sample on CPU: paste": lambda: [
            grid_sample_batch(tensor[i : i + 16], {n: v[i : i + 16] for n, v in described.items()})
            for i in range(0, CLIPS, 16)
        ],
    }
    video = CLIP_FILES[0]
    source = VideoFile(video.name, "", video.stat().st_size, video)
    shard = MakeShard(short_side=128).process(frames=Decode().process(videos=source))
    sample, method = Sample(frames=shard, trajectories=bank), CtP()
    ways["all of CtP.views (JPEG decode, resize, crop, paste)"] = lambda: [
        method.views(sample, np.random.default_rng(i)) for i in range(CLIPS)
    ]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            seconds[name].append(cpu_seconds(way) / CLIPS)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    published, worker, *_ = medians
    medians["share of the bank + worker path"] = drawing + medians[worker]
    table = Table("way (a clip of 16 x 112 x 112)", "ms", "published / this")
    for name, value in medians.items():
        table.add_row(name, f"{value * 1e3:.2f}", f"{medians[published] / value:.1f}")
    if torch.cuda.is_available():
        on_device = tensor.cuda()
        patches = {name: values.cuda() for name, values in described.items()}
        for name, way in (("device path", paste_batch), ("grid_sample", grid_sample_batch)):
            value = wall_seconds(lambda way=way: way(on_device, patches)) / CLIPS
            table.add_row(f"{name} on CUDA (wall)", f"{value * 1e3:.3f}", "")
    else:
        table.add_row("device path on CUDA", "no CUDA device here", "")
    console.print(table)
    ours = np.stack([paste_patches(clip, bank[i]) for i, clip in enumerate(clips)])
    same = np.array_equal(paste_batch(tensor, described).numpy(), ours)
    away = np.abs(grid_sample_batch(tensor, described).numpy().astype(int) - ours)
    console.print(
        f"worker and device path give the same bytes: {same}; grid_sample differs in "
        f"{(away > 0).mean():.2%} of the values, by at most {away.max()}"
    )


def wall_seconds(work: Callable[[], object]) -> float:
    """Median wall time of a call on CUDA."""
    found = []
    for _ in range(ROUNDS + 3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return statistics.median(found[3:])


if __name__ == "__main__":
    main()
