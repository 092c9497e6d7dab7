"""The training loop: batch, objective, backward, step, what follows it."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stages.learning.data import Examples, Schedule, make_loader
from stages.learning.devices import default_workers, pick_device, put_channels_last
from stages.learning.distributed import gather_constant
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build, load_encoder
from stages.learning.health import Health
from stages.learning.method import Step
from stages.learning.objective import Objective, trained_heads
from stages.learning.online_knn import OnlineKnn
from stages.learning.optimisation import Optimisation
from stages.learning.optimiser import make_optimiser
from stages.learning.train_spec import TrainSpec
from stages.learning.training_log import TrainingLog
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import StageFailed

CHECKPOINT = "checkpoint.pt"
DIVERGED = "diverged.pt"
_HEALTH_STEPS = 20  # between two looks at the features
_RATE_STEPS = 50  # that the speed is an average of


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
        self.device = pick_device(spec.device, local_rank)
        torch.set_num_threads(spec.threads)
        torch.manual_seed(spec.seed)
        self.examples = Examples.of(spec)
        method = self.examples.method
        self.objective = Objective(method, self._first_encoder(method.encoder_options))
        if self.device.type == "cuda" and world_size > 1 and method.synchronised_batch_norm:
            self.objective = nn.SyncBatchNorm.convert_sync_batchnorm(self.objective)
        self.objective.to(self.device)
        if self.optimisation.channels_last:
            put_channels_last(self.objective)
        self.health = Health(self.objective.encoder)
        if self.optimisation.compile:
            for module in (self.objective.encoder, *self.objective.heads.values()):
                module.compile()  # not the objective, whose draws are made by numpy
        self.parameters = [p for p in self.objective.parameters() if p.requires_grad]
        self.optimiser = make_optimiser(self.parameters, self.optimisation)
        self.knn = OnlineKnn.model_validate(spec.knn)
        self.classified = self.knn.choose(spec.labels or {}, self.examples.video_ids)
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
            If the loss is not finite; `DIVERGED` holds the weights that gave it, the
            checkpoint is the last one from before.
        """
        self._resume()
        schedule = self.schedule()
        loader = self.loader(schedule)
        model = self.wrapped()
        self.objective.train()
        self._loop(model, loader, schedule.steps_per_epoch)
        self.save()
        if self.rank == 0:
            state = {k: v.cpu() for k, v in self.objective.encoder.state_dict().items()}
            save_atomically(state, self.folder / "encoder.pt")
            save_atomically(trained_heads(self.objective), self.folder / "heads.pt")
            EncoderFiles.describe(
                self.folder,
                self.encoder_spec.model_dump(mode="json"),
                **self.objective.method.standardisation._asdict(),
                method=self.spec.method,
            )

    def _first_encoder(self, options: Mapping[str, Any]) -> nn.Module:
        if self.spec.initial is None:
            return build(self.encoder_spec, **options)
        return load_encoder(EncoderFiles.open(Path(self.spec.initial)))

    def schedule(self) -> Schedule:
        """Which videos this rank reads in the steps that are left."""
        return Schedule(
            videos=len(self.examples),
            batch_size=self.optimisation.batch_size,
            epochs=self.optimisation.epochs,
            seed=self.spec.seed,
            rank=self.rank,
            world_size=self.world_size,
            first_step=self.step,
        )

    def loader(self, schedule: Schedule) -> Any:
        """Batches of views in memory, made by the spec's number of processes."""
        on_gpu = self.device.type == "cuda"
        workers = self.spec.loader_workers
        if workers is None:
            workers = default_workers(self.world_size) if on_gpu else 0
        return make_loader(self.examples, schedule, workers=workers, pin_memory=on_gpu)

    def wrapped(self) -> nn.Module:
        """The objective, distributed where there are several devices."""
        if self.world_size == 1:
            return self.objective
        return DistributedDataParallel(
            self.objective,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            forward_sync_buffers=False,  # queues are equal anyway, statistics are rank 0's
        )

    def _loop(self, model: nn.Module, loader: Any, steps_per_epoch: int) -> None:
        epochs, snapshots = self.optimisation.epochs, self.spec.snapshots()
        times = deque([time.monotonic()], maxlen=_RATE_STEPS + 1)
        saved, cost = time.monotonic(), 0.0
        with self._log() as log:
            for batch in loader:
                rate = self.optimisation.rate_at(self.step, steps_per_epoch=steps_per_epoch)
                numbers = self.train_step(model, batch, rate=rate)
                epoch, place = divmod(self.step - 1, steps_per_epoch)
                if place == steps_per_epoch - 1:
                    if self.knn.is_due(epoch + 1, epochs=epochs):
                        numbers |= self._knn_accuracy()
                    if self.rank == 0 and epoch + 1 in snapshots:
                        save_atomically(self.objective.state_dict(), snapshots[epoch + 1])
                times.append(time.monotonic())
                log(
                    {
                        "step": self.step,
                        "of": epochs * steps_per_epoch,
                        "epoch": epoch + 1,
                        **numbers,
                        "learning_rate": rate,
                        "clips_per_second": self.optimisation.batch_size
                        * (len(times) - 1)
                        / (times[-1] - times[0]),
                    }
                )
                # Where saving is slow, it is done less often.
                if times[-1] - saved > self.spec.checkpoint_seconds * max(1.0, cost):
                    self.save()
                    saved = time.monotonic()
                    cost = saved - times[-1]

    def train_step(
        self, model: nn.Module, batch: Mapping[str, Tensor], *, rate: float
    ) -> dict[str, float]:
        """One optimiser step on one batch, piece by piece; returns what to log.

        Numbers are means over the pieces and over all ranks; those of the features are of
        this rank's newest piece.
        """
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
                with self._autocast():
                    result: Step = model(piece, generator)
                self.scaler.scale(result.loss / len(pieces)).backward()
            results.append(result)
        whole = _joined(results)
        metrics = {"loss": whole.loss.detach(), **whole.metrics}
        if self.optimisation.gradient_clip is not None:
            self.scaler.unscale_(self.optimiser)
            metrics["gradient_norm"] = nn.utils.clip_grad_norm_(
                self.parameters, self.optimisation.gradient_clip
            )
        numbers = _as_numbers(metrics)  # the only time in a step that the device is waited for
        self._require_finite(numbers["loss"])
        if self.step % _HEALTH_STEPS == 0:
            numbers |= _as_numbers(self.health.metrics())
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.objective.method.after_step(self.objective, whole)
        self.step += 1
        return numbers

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.mixed)

    def _knn_accuracy(self) -> dict[str, float]:
        if self.rank > 0:
            return {}  # the batch statistics that are kept are rank 0's
        return self.knn.accuracy(
            self.objective,
            {video_id: self.examples.shards[video_id] for video_id in self.classified},
            self.classified,
            device=self.device,
            autocast=self._autocast(),
        )

    def _require_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            self.save(DIVERGED)
            raise StageFailed(
                f"loss is {loss} at step {self.step + 1}; lower "
                f"optimisation.learning_rate ({self.optimisation.learning_rate}) or "
                f"gradient_clip ({self.optimisation.gradient_clip}); the weights that gave it "
                f"are in {self.folder / DIVERGED}"
            )

    def save(self, name: str = CHECKPOINT) -> None:
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
                self.folder / name,
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
    """Means over the ranks, in one transfer from the device for all of them."""
    values = torch.stack([value.detach().float() for value in metrics.values()])
    mean = gather_constant(values[None]).mean(0)
    return dict(zip(metrics, mean.tolist(), strict=True))


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """`torch.save`, flushed to the disk, then renamed into place."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
