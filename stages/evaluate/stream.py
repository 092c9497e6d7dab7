"""Videos through a network: views are decoded ahead while the devices work.

Memory holds a few videos at a time, whatever the size of the data set. With several devices
each takes its own videos, so that none is padded, repeated or gathered.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.stage import Context
from pipeline.wording import counted
from stages.evaluate.clips import Decodable, EvaluationViews

if TYPE_CHECKING:
    import torch
    from torch import Tensor

R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")

_AHEAD_BYTES = 1 << 28  # of views that wait for a device
_CPU_PIXELS, _GPU_PIXELS = 1 << 22, 1 << 26  # of the views in one pass


def map_videos(
    videos: Mapping[str, Decodable],
    views: EvaluationViews,
    *,
    ctx: Context,
    network: Callable[[torch.device], Callable[[Tensor], Mapping[str, Tensor]]],
    done: Callable[[int, str, Mapping[str, NDArray[np.float32]]], None],
    finished: Collection[int] = (),
) -> None:
    """Run every video through a network, but for the rows that are `finished`.

    Parameters
    ----------
    videos : mapping of video id -> Decodable
    views : EvaluationViews
    ctx : Context
    network : callable
        Device -> function of views (N, T, S, S, 3), uint8, to named tensors of N rows.
    done : callable
        ``done(row, video_id, {name: array})``, with all views of the video; from the
        thread of any device, one at a time.
    """
    import torch

    torch.set_num_threads(ctx.threads)
    devices = evaluation_devices(ctx.device)
    video_ids = list(videos)
    todo = [row for row in range(len(video_ids)) if row not in finished]
    count, lock = [len(finished)], Lock()

    def work(number: int) -> None:
        device = devices[number]
        forward = network(device)
        decoders = decoders_for(device, len(devices))
        with torch.inference_mode():
            mine = ((row, videos[video_ids[row]]) for row in todo[number :: len(devices)])
            ahead = decoded_ahead(mine, views.cut, nbytes=views.nbytes, decoders=decoders)
            for row, clips_NTHWC in ahead:
                found: dict[str, list[Tensor]] = {}
                for piece in np.array_split(clips_NTHWC, _pieces(clips_NTHWC, device)):
                    pixels = torch.from_numpy(piece).to(device, non_blocking=True)
                    for name, values in forward(pixels).items():
                        found.setdefault(name, []).append(values.float())
                joined = {name: torch.cat(parts).cpu().numpy() for name, parts in found.items()}
                with lock:
                    done(row, video_ids[row], joined)
                    count[0] += 1
                    ctx.progress(count[0] / len(video_ids), counted(count[0], "video"))

    if len(devices) == 1:
        work(0)
        return
    with ThreadPoolExecutor(len(devices)) as pool:
        for future in [pool.submit(work, number) for number in range(len(devices))]:
            future.result()


def decoded_ahead(
    videos: Iterator[tuple[R, S]], cut: Callable[[S], T], *, nbytes: int, decoders: int
) -> Iterator[tuple[R, T]]:
    """What `cut` gives of each video, in order; threads work ahead within a bound of memory.

    Parameters
    ----------
    videos : iterator of (name, video)
    cut : callable
    nbytes : int
        Of what it gives.
    decoders : int
        Threads.
    """
    ahead = max(decoders, min(8 * decoders, _AHEAD_BYTES // nbytes))
    waiting: deque[tuple[R, Future[T]]] = deque()
    with ThreadPoolExecutor(decoders) as pool:
        try:
            for name, video in videos:
                waiting.append((name, pool.submit(cut, video)))
                if len(waiting) > ahead:
                    name, future = waiting.popleft()
                    yield name, future.result()
            while waiting:
                name, future = waiting.popleft()
                yield name, future.result()
        finally:  # a reader that stops early need not wait for what nobody wants
            pool.shutdown(cancel_futures=True)


def evaluation_devices(name: str) -> Sequence[torch.device]:
    """All GPUs for ``auto`` and ``cuda`` where there are any, else the device of this name."""
    import torch

    if name in ("auto", "cuda") and torch.cuda.is_available():
        return [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    return [torch.device("cpu" if name == "auto" else name)]


def decoders_for(device: torch.device, devices: int = 1) -> int:
    """Threads that decode for a device: a CPU is busy with the network itself."""
    cores = os.cpu_count() or 1
    return 1 if device.type == "cpu" else max(1, min(16, cores // devices))


def _pieces(clips_NTHWC: NDArray[np.uint8], device: torch.device) -> int:
    pixels = clips_NTHWC.size // 3
    return max(1, -(-pixels // (_CPU_PIXELS if device.type == "cpu" else _GPU_PIXELS)))
