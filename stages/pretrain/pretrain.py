"""Self-supervised pretraining of an encoder with any of the methods."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, SerializeAsAny

from pipeline.pictures import line_plot, stack
from pipeline.processes import ask_for_death_signal
from pipeline.stage import Context, GatherStage
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.method import Method
from stages.learning.optimisation import Optimisation
from storage_schemas import errors
from storage_schemas.boxes import Boxes
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import StageFailed
from storage_schemas.labels import Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard
from storage_schemas.trajectories import Trajectories

_POLL_SECONDS = 0.3
_PICTURED_EXAMPLES = 3


class Pretrain(GatherStage, name="pretrain", version=1):
    """Train an encoder; the method decides which annotations are read.

    An interrupted training resumes from its last checkpoint, bit for bit on a CPU.
    """

    method: Annotated[SerializeAsAny[Method], BeforeValidator(Method.choose)] = Field(
        default="ctp", validate_default=True
    )
    encoder: EncoderSpec = EncoderSpec()
    optimisation: Optimisation = Optimisation()
    seed: int = Field(0, ge=0)

    def reads(self) -> frozenset[str]:
        """Frames, the split, and the annotations that the method needs."""
        return frozenset({"shards", "split"}) | self.method.reads()

    def run(
        self,
        *,
        shards: Items[Shard],
        split: Labels | None = None,
        trajectories: Trajectories | None = None,
        tubes: Items[Boxes] | None = None,
        proposals: Items[Boxes] | None = None,
        detections: Items[Boxes] | None = None,
        ctx: Context,
    ) -> EncoderFiles:
        """Launch the trainer and follow its log; of a `split`, only ``train`` is seen."""
        train = None
        if split is not None:
            chosen = {row.video_id for row in split.rows if row.split == "train"}
            train = [video_id for video_id in shards if video_id in chosen]
        annotations = {
            role: items.folders
            for role, items in (
                ("tubes", tubes),
                ("proposals", proposals),
                ("detections", detections),
            )
            if items is not None
        }
        if trajectories is not None:
            bank = ctx.work / "trajectories"
            bank.mkdir(exist_ok=True)
            trajectories.write(bank)
            annotations["trajectories"] = [bank]
        spec_path = ctx.work / "train.json"
        # Imported here: a plan reads this file and must not load torch.
        from stages.learning.trainer import TrainSpec

        TrainSpec(
            method=self.method.model_dump(mode="json"),
            encoder=self.encoder.model_dump(mode="json"),
            optimisation=self.optimisation.model_dump(mode="json"),
            seed=self.seed,
            shards=[str(folder) for folder in shards.folders],
            videos=train,
            annotations={role: [str(f) for f in fs] for role, fs in annotations.items()},
            folder=str(ctx.work),
            device=ctx.device,
            threads=ctx.threads,
        ).write(spec_path)
        _train(spec_path, ctx)
        self._save_views(shards, annotations, train, ctx.work)
        return EncoderFiles.open(ctx.work)

    def _save_views(
        self,
        shards: Items[Shard],
        annotations: dict[str, list[Path]],
        videos: list[str] | None,
        folder: Path,
    ) -> None:
        """Keep a picture of what the encoder was shown, beside its weights."""
        from stages.learning.data import Examples
        from storage_schemas.jpeg import encode_png

        examples = Examples(self.method, shards.folders, annotations, seed=self.seed, videos=videos)
        count = min(_PICTURED_EXAMPLES, len(examples))
        pictures = [
            picture
            for i in range(count)
            if (picture := self.method.picture(examples.views((0, i * len(examples) // count))))
            is not None
        ]
        if pictures:
            (folder / "views.png").write_bytes(encode_png(stack(pictures)))

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8] | None:
        """What the encoder was shown, above the training curve."""
        from storage_schemas.jpeg import decode_jpeg

        assert isinstance(output, EncoderFiles)
        rows = [json.loads(line) for line in output.log.read_text().splitlines()]
        curve = line_plot(
            {name: [row[name] for row in rows] for name in ("loss",)}, title="loss over steps"
        )
        views = output.folder / "views.png"
        return stack([decode_jpeg(views.read_bytes()), curve]) if views.exists() else curve


def _train(spec_path: Path, ctx: Context) -> None:
    """Run the trainer under ``torch.distributed.run`` and report its progress."""
    devices = _count_devices(ctx.device)
    error_file = ctx.work / "error.json"
    error_file.unlink(missing_ok=True)
    output = ctx.work / "trainer.log"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        "--nproc-per-node", str(devices), "-m", "stages.learning.train", str(spec_path),
    ]  # fmt: skip
    with output.open("wb") as log:
        trainer = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": str(ctx.threads)},
            preexec_fn=ask_for_death_signal,
        )
    position = 0
    try:
        while trainer.poll() is None:
            time.sleep(_POLL_SECONDS)
            position = _report(ctx, position)
    except BaseException:
        trainer.terminate()
        trainer.wait()
        raise
    _report(ctx, position)
    if trainer.returncode == 0:
        return
    if error_file.exists():
        content = json.loads(error_file.read_text())
        raise getattr(errors, content["error"], StageFailed)(content["message"])
    tail = output.read_text(errors="replace").strip()[-3000:]
    raise StageFailed(f"the trainer ended with status {trainer.returncode}:\n{tail}")


def _report(ctx: Context, position: int) -> int:
    """Tell the progress of the newest line of the log; returns where it ends."""
    path = ctx.work / "log.jsonl"
    if not path.exists():
        return position
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole > position:
        row = json.loads(content[:whole].splitlines()[-1])
        ctx.progress(
            row["step"] / row["of"],
            f"epoch {row['epoch']}, loss {row['loss']:.3f}, {row['clips_per_second']:.1f} clips/s",
        )
    return whole


def _count_devices(device: str) -> int:
    import torch

    return max(1, torch.cuda.device_count()) if device in ("auto", "cuda") else 1
