"""The trainer: a plain loop, always a child under ``torch.distributed.run``.

``python -m torch.distributed.run --standalone --nproc-per-node N -m stages.learning.train
SPEC.json``. It needs shards, annotation tables and the spec file, neither Prefect nor
PyAV, so it runs unchanged on a bare GPU machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.processes import die_with_parent
from stages.learning.data import Examples, Schedule, make_loader
from stages.learning.encoder_spec import EncoderSpec, Optimisation
from stages.learning.encoders import build
from stages.learning.method import Method, Step
from stages.learning.objective import Objective
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import StageFailed, TubeletError

CHECKPOINT = "checkpoint.pt"
ERROR = "error.json"


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
        options = dict(getattr(type(method), "encoder_options", {}))
        self.objective = Objective(method, build(self.encoder_spec, **options))
        if self.device.type == "cuda" and world_size > 1:
            self.objective = nn.SyncBatchNorm.convert_sync_batchnorm(self.objective)
        self.objective.to(self.device)
        self.parameters = [p for p in self.objective.parameters() if p.requires_grad]
        self.optimiser = torch.optim.SGD(
            self.parameters,
            lr=self.optimisation.learning_rate,
            momentum=self.optimisation.momentum,
            weight_decay=self.optimisation.weight_decay,
        )
        self.mixed = self.optimisation.mixed_precision and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.mixed)
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
        if self.world_size > 1:
            model = DistributedDataParallel(
                self.objective, device_ids=[self.device] if self.device.type == "cuda" else None
            )
        self.objective.train()
        total = self.optimisation.epochs * schedule.steps_per_epoch
        first, started = self.step, time.monotonic()
        saved = started
        with self._logs() as log:
            for batch in loader:
                epoch = self.step // schedule.steps_per_epoch
                result = self.train_step(model, batch, epoch=epoch)
                self.step += 1
                log(
                    {
                        "step": self.step,
                        "of": total,
                        "epoch": epoch + 1,
                        "loss": float(result.loss.detach()),
                        **{name: float(value) for name, value in result.metrics.items()},
                        "learning_rate": self.optimisation.rate_at(epoch),
                        "clips_per_second": self.optimisation.batch_size
                        * (self.step - first)
                        / (time.monotonic() - started),
                    }
                )
                if time.monotonic() - saved > self.spec.checkpoint_seconds:
                    self.save()
                    saved = time.monotonic()
        self.save()
        if self.rank == 0:
            state = {k: v.cpu() for k, v in self.objective.encoder.state_dict().items()}
            save_atomically(state, self.folder / "encoder.pt")
            EncoderFiles.write_parameters(self.folder, self.encoder_spec.model_dump(mode="json"))

    def train_step(self, model: nn.Module, batch: dict[str, Tensor], *, epoch: int) -> Step:
        """One optimiser step on one batch."""
        batch = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
        generator = np.random.default_rng([self.spec.seed, self.step, self.rank])
        for group in self.optimiser.param_groups:
            group["lr"] = self.optimisation.rate_at(epoch)
        with torch.autocast(self.device.type, enabled=self.mixed):
            result: Step = model(batch, generator)
        if not torch.isfinite(result.loss.detach()):
            self.save()
            raise StageFailed(
                f"loss is {float(result.loss.detach())} at step {self.step + 1} (epoch "
                f"{epoch + 1}); lower optimisation.learning_rate "
                f"({self.optimisation.learning_rate}) or gradient_clip "
                f"({self.optimisation.gradient_clip})"
            )
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(result.loss).backward()
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.parameters, self.optimisation.gradient_clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.objective.method.after_step(self.objective)
        return result

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

    @contextlib.contextmanager
    def _logs(self) -> Iterator[Any]:
        """Logger to JSON lines and TensorBoard; lines after the checkpoint are cut first."""
        if self.rank != 0:
            yield lambda row: None
            return
        from torch.utils.tensorboard import SummaryWriter

        path = self.folder / "log.jsonl"
        kept = path.read_text().splitlines(keepends=True)[: self.step] if path.exists() else []
        path.write_text("".join(kept))
        board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.step + 1)
        with path.open("a", buffering=1) as file:

            def log(row: dict[str, Any]) -> None:
                file.write(json.dumps(row) + "\n")
                for name, value in row.items():
                    if name not in ("step", "of", "epoch"):
                        board.add_scalar(name, value, row["step"])

            try:
                yield log
            finally:
                board.close()


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


def _tell(spec: TrainSpec, kind: str, message: str) -> None:
    """Leave the cause for the process that launched us."""
    content = json.dumps({"error": kind, "message": message})
    (Path(spec.folder) / ERROR).write_text(content)


def main(spec_path: Path) -> int:
    """Entry point of each worker process."""
    die_with_parent(os.getppid())
    spec = TrainSpec.read(spec_path)
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local_rank = int(os.environ["LOCAL_RANK"])
    if world_size > 1:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        Trainer(spec, rank=rank, world_size=world_size, local_rank=local_rank).run()
        if world_size > 1:
            dist.barrier()  # a rank that leaves first takes the others' connections along
    except TubeletError as error:
        _tell(spec, type(error).__name__, str(error))
        return 1
    except torch.cuda.OutOfMemoryError as error:
        _tell(
            spec,
            StageFailed.__name__,
            f"the device ran out of memory with optimisation.batch_size "
            f"{spec.optimisation['batch_size']}: lower it, or encoder.width ({error})",
        )
        return 1
    except Exception as error:
        _tell(spec, StageFailed.__name__, f"{type(error).__name__}: {error}")
        raise  # the traceback goes into trainer.log
    finally:
        if world_size > 1:
            dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
