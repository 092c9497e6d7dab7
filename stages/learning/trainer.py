"""The training loop: batch, objective, backward, step, what follows it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stages.learning.data import Examples, Schedule, make_loader
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build
from stages.learning.health import Health
from stages.learning.method import Method, Step
from stages.learning.objective import Objective
from stages.learning.optimisation import Optimisation
from stages.learning.training_log import TrainingLog
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import StageFailed

CHECKPOINT = "checkpoint.pt"
_HEALTH_STEPS = 20  # between two looks at the features


@dataclass(frozen=True)
class TrainSpec:
    """Everything a training needs, as JSON: see `Pretrain` for the meaning."""

    method: dict[str, Any]
    encoder: dict[str, Any]
    optimisation: dict[str, Any]
    seed: int
    shards: list[str]
    annotations: dict[str, list[str]]
    folder: str
    videos: list[str] | None = None
    device: str = "auto"
    threads: int = 1
    loader_workers: int = 0
    checkpoint_seconds: float = 30.0

    def write(self, path: Path) -> None:
        """Write the spec file."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> TrainSpec:
        """Inverse of `write`."""
        return cls(**json.loads(path.read_text()))


class Trainer:
    """State of one training and its loop.

    Parameters
    ----------
    spec : TrainSpec
    rank, world_size, local_rank : int
        As ``torch.distributed.run`` gives them.
    """

    def __init__(
        self, spec: TrainSpec, *, rank: int = 0, world_size: int = 1, local_rank: int = 0
    ) -> None:
        self.spec = spec
        self.rank, self.world_size = rank, world_size
        self.folder = Path(spec.folder)
        self.optimisation = Optimisation.model_validate(spec.optimisation)
        self.encoder_spec = EncoderSpec.model_validate(spec.encoder)
        method: Method = Method.choose(spec.method)
        self.device = pick_device(spec.device, local_rank)
        torch.set_num_threads(spec.threads)
        torch.manual_seed(spec.seed)
        self.examples = Examples(
            method,
            [Path(folder) for folder in spec.shards],
            {role: [Path(f) for f in folders] for role, folders in spec.annotations.items()},
            seed=spec.seed,
            videos=spec.videos,
        )
        self.objective = Objective(method, build(self.encoder_spec, **method.encoder_options))
        if self.device.type == "cuda" and world_size > 1 and method.synchronised_batch_norm:
            self.objective = nn.SyncBatchNorm.convert_sync_batchnorm(self.objective)
        self.objective.to(self.device)
        if self.optimisation.channels_last:
            put_channels_last(self.objective)
        self.health = Health(self.objective.encoder)
        self.parameters = [p for p in self.objective.parameters() if p.requires_grad]
        self.optimiser = torch.optim.SGD(
            decay_groups(self.parameters, self.optimisation),
            lr=self.optimisation.peak_rate,
            momentum=self.optimisation.momentum,
        )
        self.dtype = getattr(torch, self.optimisation.precision)
        self.mixed = self.device.type == "cuda" and self.dtype is not torch.float32
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.mixed and self.dtype is torch.float16
        )
        self.step = 0

    def run(self) -> None:
        """Train from the last checkpoint, or the start, to the end; write the encoder.

        Raises
        ------
        StageFailed
            If the loss is not finite; the state before that step is in the checkpoint.
        """
        self._resume()
        schedule = Schedule(
            videos=len(self.examples),
            batch_size=self.optimisation.batch_size,
            epochs=self.optimisation.epochs,
            seed=self.spec.seed,
            rank=self.rank,
            world_size=self.world_size,
            first_step=self.step,
        )
        loader = make_loader(
            self.examples,
            schedule,
            workers=self.spec.loader_workers,
            pin_memory=self.device.type == "cuda",
        )
        model: nn.Module = self.objective
        if self.optimisation.compile:
            model = torch.compile(model)  # type: ignore[assignment]
        if self.world_size > 1:
            model = DistributedDataParallel(
                model,
                device_ids=[self.device] if self.device.type == "cuda" else None,
                broadcast_buffers=False,  # queues are equal anyway, statistics are rank 0's
            )
        self.objective.train()
        self._loop(model, loader, schedule.steps_per_epoch)
        self.save()
        if self.rank == 0:
            state = {k: v.cpu() for k, v in self.objective.encoder.state_dict().items()}
            save_atomically(state, self.folder / "encoder.pt")
            EncoderFiles.describe(
                self.folder,
                self.encoder_spec.model_dump(mode="json"),
                **self.objective.method.standardisation._asdict(),
            )

    def _loop(self, model: nn.Module, loader: Any, steps_per_epoch: int) -> None:
        first, started = self.step, time.monotonic()
        saved = started
        with self._log() as log:
            for batch in loader:
                rate = self.optimisation.rate_at(self.step, steps_per_epoch=steps_per_epoch)
                result = self.train_step(model, batch, rate=rate)
                metrics = {"loss": result.loss, **result.metrics}
                if self.step % _HEALTH_STEPS == 0:
                    metrics |= self.health.metrics()
                self.step += 1
                log(
                    {
                        "step": self.step,
                        "of": self.optimisation.epochs * steps_per_epoch,
                        "epoch": (self.step - 1) // steps_per_epoch + 1,
                        **_as_numbers(metrics),
                        "learning_rate": rate,
                        "clips_per_second": self.optimisation.batch_size
                        * (self.step - first)
                        / (time.monotonic() - started),
                    }
                )
                if time.monotonic() - saved > self.spec.checkpoint_seconds:
                    self.save()
                    saved = time.monotonic()

    def train_step(self, model: nn.Module, batch: Mapping[str, Tensor], *, rate: float) -> Step:
        """One optimiser step on one batch, piece by piece; returns the pieces' mean."""
        batch = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
        generator = np.random.default_rng([self.spec.seed, self.step])  # the same on all ranks
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        pieces = _pieces(batch, self.optimisation.accumulate)
        results = []
        for i, piece in enumerate(pieces):
            last = i == len(pieces) - 1
            wait = contextlib.nullcontext() if last else _unsynchronised(model)
            with wait:
                with torch.autocast(self.device.type, self.dtype, enabled=self.mixed):
                    result: Step = model(piece, generator)
                self._require_finite(result)
                self.scaler.scale(result.loss / len(pieces)).backward()
            results.append(result)
        if self.optimisation.gradient_clip is not None:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.parameters, self.optimisation.gradient_clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        whole = _joined(results)
        self.objective.method.after_step(self.objective, whole)
        return whole

    def _require_finite(self, result: Step) -> None:
        if not torch.isfinite(result.loss.detach()):
            self.save()
            raise StageFailed(
                f"loss is {float(result.loss.detach())} at step {self.step + 1}; lower "
                f"optimisation.learning_rate ({self.optimisation.learning_rate}) or "
                f"gradient_clip ({self.optimisation.gradient_clip})"
            )

    def save(self) -> None:
        """Write the checkpoint; a kill leaves the old or the new one whole."""
        if self.rank == 0:
            save_atomically(
                {
                    "step": self.step,
                    "objective": self.objective.state_dict(),
                    "optimiser": self.optimiser.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "rng": torch.get_rng_state(),
                },
                self.folder / CHECKPOINT,
            )

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.objective.load_state_dict(state["objective"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["rng"].cpu())
        self.step = int(state["step"])

    def _log(self) -> Any:
        if self.rank == 0:
            return TrainingLog(self.folder, first_step=self.step)
        return contextlib.nullcontext(lambda row: None)


def put_channels_last(module: nn.Module) -> None:
    """Lay out kernels channels last; convolutions then lay out what they put out so, too."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in module.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])


def decay_groups(
    parameters: list[nn.Parameter], optimisation: Optimisation
) -> list[dict[str, Any]]:
    """Parameter groups with their weight decay; vectors are biases or normalisation."""
    if not optimisation.decay_kernels_only:
        return [{"params": parameters, "weight_decay": optimisation.weight_decay}]
    return [
        {
            "params": [p for p in parameters if p.ndim > 1],
            "weight_decay": optimisation.weight_decay,
        },
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _pieces(batch: Mapping[str, Tensor], count: int) -> list[dict[str, Tensor]]:
    size = len(next(iter(batch.values())))
    if size % count:
        raise StageFailed(
            f"optimisation.accumulate is {count}: it must divide a device's share of the batch "
            f"({size} videos)"
        )
    chunks = {name: values.chunk(count) for name, values in batch.items()}
    return [{name: parts[i] for name, parts in chunks.items()} for i in range(count)]


def _unsynchronised(model: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Let gradients of a piece add up on each rank before they are averaged."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return contextlib.nullcontext()


def _joined(results: list[Step]) -> Step:
    """Mean loss and metrics of the pieces, and all that they keep."""
    if len(results) == 1:
        return results[0]
    first = results[0]
    return Step(
        loss=torch.stack([r.loss.detach() for r in results]).mean(),
        metrics={n: torch.stack([r.metrics[n] for r in results]).mean() for n in first.metrics},
        keep={n: torch.cat([r.keep[n] for r in results]) for n in first.keep},
    )


def _as_numbers(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """One transfer from the device for all of them."""
    values = torch.stack([value.detach().float() for value in metrics.values()]).tolist()
    return dict(zip(metrics, values, strict=True))


def pick_device(name: str, local_rank: int) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name, local_rank) if name == "cuda" else torch.device(name)


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """`torch.save`, flushed to the disk, then renamed into place."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
