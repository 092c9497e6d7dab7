"""What holds a training back: its loader or its step, each measured alone and together."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from pipeline.wording import counted
from stages.learning.data import Schedule
from stages.learning.train_spec import TrainSpec
from stages.learning.trainer import Trainer

MAY_WAIT = 0.1  # share of the time; above it loading is what holds a training back
_WORTH_IT = 1.05  # gain that a change must have
_ENDLESS = 1_000_000  # epochs
_WARM_UP = 2  # steps


@dataclass(frozen=True)
class Throughput:
    """Clips a second of one device, and how long its step waits for them.

    Parameters
    ----------
    workers : int
        Loader processes; 0 loads in the process that trains.
    loader, step, both : float
        Clips/s of the loader alone, of the step on a batch in memory, and of a training.
    waiting : float
        Share of a training's time in which the step waits for a batch.
    batch_size : int
        Clips of a step on this device.
    """

    workers: int
    loader: float
    step: float
    both: float
    waiting: float
    batch_size: int

    @property
    def bound_by_loading(self) -> bool:
        """Whether faster loading would make the training faster."""
        return self.waiting > MAY_WAIT

    @property
    def workers_needed(self) -> int:
        """Loader processes that keep up with the step, at the measured rate of one."""
        return math.ceil(self.step / (self.loader / max(1, self.workers)))


class Bench:
    """Measures a training without leaving anything behind.

    Parameters
    ----------
    spec : TrainSpec
        Its folder may be empty; one device is measured.
    seconds : float
        That each measurement lasts, at least.
    """

    def __init__(self, spec: TrainSpec, *, seconds: float = 8.0) -> None:
        self.spec, self.seconds = spec, seconds

    def measure(self) -> Throughput:
        """All three, with the spec's loader workers."""
        trainer = Trainer(self.spec)
        loader = self._loader(trainer)
        batches = iter(loader)
        batch = next(batches)
        # What was made ahead while nobody measured must not count.
        for _ in range(2 * loader.num_workers):
            next(batches)
        loading = self._seconds_each(lambda: next(batches))
        stepping = self._stepping(trainer, batch)
        both, waiting = self._together(trainer, batches)
        size = self._batch_size
        return Throughput(
            workers=loader.num_workers,
            loader=size / loading,
            step=size / stepping,
            both=size / both,
            waiting=waiting,
            batch_size=size,
        )

    def step_rate(self, **optimisation: Any) -> float:
        """Clips/s of the step on a batch in memory, with changed settings."""
        spec = replace(self.spec, optimisation={**self.spec.optimisation, **optimisation})
        bench = Bench(spec, seconds=self.seconds)
        trainer = Trainer(spec)
        places = itertools.islice(itertools.cycle(range(len(trainer.examples))), bench._batch_size)
        rows = [trainer.examples[0, i] for i in places]
        batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        return bench._batch_size / bench._stepping(trainer, batch)

    @property
    def _batch_size(self) -> int:
        return int(self.spec.optimisation["batch_size"])

    def _loader(self, trainer: Trainer) -> Any:
        schedule = Schedule(
            videos=len(trainer.examples),
            batch_size=self._batch_size,
            epochs=_ENDLESS,
            seed=self.spec.seed,
        )
        return trainer.loader(schedule)

    def _stepping(self, trainer: Trainer, batch: Mapping[str, torch.Tensor]) -> float:
        model = trainer.wrapped()
        trainer.objective.train()

        def step() -> None:
            trainer.train_step(model, batch, rate=1e-6)

        for _ in range(_WARM_UP):
            step()
        return self._seconds_each(step)

    def _together(self, trainer: Trainer, batches: Iterator[Any]) -> tuple[float, float]:
        """Seconds of a step, and the share of it that was spent waiting."""
        model = trainer.wrapped()
        waited, count, started = 0.0, 0, time.monotonic()
        while count < _WARM_UP or time.monotonic() - started < self.seconds:
            asked = time.monotonic()
            batch = next(batches)
            waited += time.monotonic() - asked
            trainer.train_step(model, batch, rate=1e-6)
            count += 1
        total = time.monotonic() - started
        return total / count, waited / total

    def _seconds_each(self, work: Any) -> float:
        count, started = 0, time.monotonic()
        while count < _WARM_UP or time.monotonic() - started < self.seconds:
            work()
            count += 1
        return (time.monotonic() - started) / count


def alternatives(spec: TrainSpec) -> dict[str, Any]:
    """Settings of `Optimisation` that may be faster on this machine, each by itself."""
    now = spec.optimisation
    changes: dict[str, Any] = {"channels_last": not now["channels_last"]}
    if torch.cuda.is_available() and spec.device != "cpu":
        changes["precision"] = "bfloat16" if now["precision"] == "float32" else "float16"
        changes["batch_size"] = 2 * now["batch_size"]
    return changes


def verdict(
    found: Throughput,
    tried: Mapping[str, float],
    *,
    cores: int,
    better: Throughput | None = None,
    smaller_frames: str | None = None,
) -> list[str]:
    """What holds the training back, and what to do about it; a sentence a line.

    Parameters
    ----------
    found : Throughput
    tried : mapping of str -> float
        Setting -> clips/s of the step with it.
    cores : int
        Of the machine, for each device.
    better : Throughput, optional
        Measured with more workers.
    smaller_frames : str, optional
        The setting that would store frames at the size that is needed.
    """
    if found.bound_by_loading:
        lines = [
            f"Bound by loading: the step waits for its batch {found.waiting:.0%} of the time. "
            f"It could take {found.step:.0f} clips/s; the loader gives {found.loader:.0f} with "
            f"{counted(found.workers, 'worker')}."
        ]
        needed = found.workers_needed
        if better is not None and better.both < _WORTH_IT * found.both:
            lines.append(
                f"More workers do not help: {better.both:.0f} clips/s with {better.workers}, "
                f"{found.both:.0f} with {found.workers}."
            )
        elif found.workers < min(needed, cores):
            lines.append(f"More workers: --loader-workers {min(needed, cores)}.")
        if needed > cores:
            lines.append(
                f"{needed} workers would be needed, but a device has {cores} cores: the views must "
                "become cheaper."
            )
        if smaller_frames is not None:
            lines.append(f"Frames are stored larger than they are used: --set {smaller_frames}.")
        return lines
    lines = [
        f"Bound by compute: the step waits for its batch {found.waiting:.0%} of the time only, and "
        f"takes {1e3 * found.batch_size / found.step:.0f} ms for {found.batch_size} clips."
    ]
    gains = {name: rate / found.step for name, rate in tried.items()}
    good = [name for name, gain in gains.items() if gain >= _WORTH_IT]
    lines += [f"{gains[name]:.2f} times as fast: --set {name}." for name in good]
    if not good:
        lines.append(
            "None of the settings that were tried is faster: use a GPU or more threads "
            "(--threads), smaller clips, or a smaller encoder."
        )
    return lines
