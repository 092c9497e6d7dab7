"""The process that trains, always a child under ``torch.distributed.run``.

``python -m torch.distributed.run --standalone --nproc-per-node N -m stages.learning.train
SPEC.json``. It needs shards, annotation tables and the spec file, neither Prefect nor
PyAV, so it runs unchanged on a bare GPU machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from pipeline.processes import die_with_parent
from stages.learning.train_spec import TrainSpec, too_large
from stages.learning.trainer import Trainer
from storage_schemas.errors import StageFailed, TubeletError

ERROR = "error.json"


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
        _tell(spec, type(error).__name__, own_message(error))
        return 1
    except Exception as error:
        if ran_out_of_memory(error):
            _tell(spec, StageFailed.__name__, f"{too_large(spec)} ({error})")
            return 1
        _tell(spec, StageFailed.__name__, f"{type(error).__name__}: {error}")
        raise  # the traceback goes into trainer.log
    finally:
        if world_size > 1:
            dist.destroy_process_group()
    return 0


def own_message(error: TubeletError) -> str:
    """What the error says; of one in a loader's process, without the traceback before it."""
    kind = type(error)
    return str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2].strip()


def ran_out_of_memory(error: Exception) -> bool:
    """Whether it is the allocator's, of a GPU or of the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _tell(spec: TrainSpec, kind: str, message: str) -> None:
    """Leave the cause for the process that launched us; the first of all ranks counts."""
    content = json.dumps({"error": kind, "message": message})
    with contextlib.suppress(FileExistsError), (Path(spec.folder) / ERROR).open("x") as file:
        file.write(content)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
