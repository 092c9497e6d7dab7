"""The trainer as a child under ``torch.distributed.run``, and what it tells while it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.processes import ask_for_death_signal
from pipeline.stage import Context
from stages.learning.train_spec import TrainSpec, too_large
from storage_schemas import errors
from storage_schemas.errors import StageFailed

_MODULE = ["-m", "stages.learning.train"]
_POLL_SECONDS = 0.3
_NOT_FIGURES = ("step", "of", "epoch")


def train(spec: TrainSpec, ctx: Context) -> None:
    """Run the trainer to its end.

    Raises
    ------
    StageFailed
        With the trainer's own message, or the end of its output.
    """
    spec_path = ctx.work / "train.json"
    spec.write(spec_path)
    error_file = ctx.work / "error.json"
    error_file.unlink(missing_ok=True)
    output = ctx.work / "trainer.log"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        "--nproc-per-node", str(count_devices(ctx.device)),
        *_MODULE, str(spec_path),
    ]  # fmt: skip
    with output.open("wb") as log:
        trainer = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": str(ctx.threads)},
            preexec_fn=ask_for_death_signal,
        )
    follower = Follower(ctx, batch_size=spec.optimisation["batch_size"])
    try:
        while trainer.poll() is None:
            time.sleep(_POLL_SECONDS)
            follower.read()
    except BaseException:
        trainer.terminate()
        trainer.wait()
        raise
    follower.read()
    follower.end_epoch()
    if trainer.returncode == 0:
        return
    if error_file.exists():
        content = json.loads(error_file.read_text())
        raise getattr(errors, content["error"], StageFailed)(content["message"])
    tail = output.read_text(errors="replace").strip()[-3000:]
    # The kernel's answer to a lack of memory, which leaves no time for a message.
    hint = f"; maybe {too_large(spec)}" if "SIGKILL" in tail else ""
    raise StageFailed(f"the trainer ended with status {trainer.returncode}{hint}:\n{tail}")


class Follower:
    """Reads the log of a training as it grows: progress, and the means of each epoch.

    Parameters
    ----------
    ctx : Context
        Its work folder holds the log.
    batch_size : int
        Clips of a step.
    """

    def __init__(self, ctx: Context, *, batch_size: int) -> None:
        self._ctx = ctx
        self._path = ctx.work / "log.jsonl"
        self._batch_size = batch_size
        self._position = 0
        self._epoch: list[Mapping[str, Any]] = []

    def read(self) -> None:
        """Tell what is new."""
        rows = self._new_rows()
        for row in rows:
            if self._epoch and row["epoch"] != self._epoch[-1]["epoch"]:
                self.end_epoch()
            self._epoch.append(row)
        if rows:
            row = rows[-1]
            speed = row["clips_per_second"]
            left = (row["of"] - row["step"]) * self._batch_size / speed
            self._ctx.progress(
                row["step"] / row["of"],
                f"epoch {row['epoch']}, step {row['step']} of {row['of']}, "
                f"loss {row['loss']:.3f}, {speed:.1f} clips/s, {left / 60:.1f} min left",
            )

    def end_epoch(self) -> None:
        """Tell the means of the epoch that was read."""
        if self._epoch:
            self._ctx.figures(f"epoch {self._epoch[-1]['epoch']}", means(self._epoch))
            self._epoch = []

    def _new_rows(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        if self._path.stat().st_size < self._position:
            self._position = 0  # the trainer resumed, and cut off what it will do again
            self._epoch = []
        with self._path.open("rb") as file:
            file.seek(self._position)
            content = file.read()
        whole = content.rfind(b"\n") + 1
        self._position += whole
        return [json.loads(line) for line in content[:whole].splitlines()]


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean of each figure over the rows that have it."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in _NOT_FIGURES and value is not None:
                found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def count_devices(device: str) -> int:
    """Processes that a training has: one a GPU, or one."""
    import torch

    return max(1, torch.cuda.device_count()) if device in ("auto", "cuda") else 1
