"""Self-supervised pretraining of an encoder with any of the methods."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, SerializeAsAny

from pipeline.pictures import stack
from pipeline.stage import Context, GatherStage
from stages.learning.curves import training_curves
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.launch import train
from stages.learning.method import Method
from stages.learning.online_knn import OnlineKnn
from stages.learning.optimisation import Optimisation
from stages.learning.train_spec import TrainSpec
from storage_schemas.boxes import Boxes
from storage_schemas.encoders import EncoderFiles
from storage_schemas.labels import Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard
from storage_schemas.trajectories import Trajectories

_PICTURED_EXAMPLES = 3


class Pretrain(GatherStage, name="pretrain", version=3):
    """Train an encoder; the method decides which annotations are read.

    An interrupted training resumes from its last checkpoint, bit for bit on a CPU. The
    method never sees labels: where the stage has them, they measure how well `knn` tells
    classes apart while it trains, and another labelling trains anew. With ``knn.every=0``
    they are not read.
    """

    method: Annotated[SerializeAsAny[Method], BeforeValidator(Method.choose)] = Field(
        default="ctp", validate_default=True
    )
    encoder: EncoderSpec = EncoderSpec()
    optimisation: Optimisation = Optimisation()
    knn: OnlineKnn = OnlineKnn()
    seed: int = Field(0, ge=0)

    def uses_device(self) -> bool:
        """Its network runs there."""
        return True

    def reads(self) -> frozenset[str]:
        """Frames, the split, the annotations that the method needs, labels for `knn`."""
        labels = {"labels"} if self.knn.every else set()
        return frozenset({"shards", "split"} | labels) | self.method.reads()

    def run(
        self,
        *,
        shards: Items[Shard],
        split: Labels | None = None,
        labels: Labels | None = None,
        trajectories: Trajectories | None = None,
        tubes: Items[Boxes] | None = None,
        proposals: Items[Boxes] | None = None,
        detections: Items[Boxes] | None = None,
        ctx: Context,
    ) -> EncoderFiles:
        """Launch the trainer and follow its log; of a `split`, only ``train`` is seen.

        `labels` are for the accuracy of nearest neighbours that is logged; see `knn`.
        """
        boxes = {"tubes": tubes, "proposals": proposals, "detections": detections}
        spec = self.train_spec(
            shards=shards,
            split=split,
            labels=labels,
            trajectories=trajectories,
            boxes={role: items for role, items in boxes.items() if items is not None},
            ctx=ctx,
        )
        train(spec, ctx)
        self._save_views(spec)
        return EncoderFiles.open(ctx.work)

    def train_spec(
        self,
        *,
        shards: Items[Shard],
        split: Labels | None,
        labels: Labels | None,
        trajectories: Trajectories | None,
        boxes: Mapping[str, Items[Boxes]],
        ctx: Context,
    ) -> TrainSpec:
        """What the process that trains is told."""
        videos = None
        if split is not None:
            chosen = {row.video_id for row in split.rows if row.split == "train"}
            videos = [video_id for video_id in shards if video_id in chosen]
        annotations = {role: items.folders for role, items in boxes.items()}
        if trajectories is not None:
            annotations["trajectories"] = [_bank(trajectories, ctx.work)]
        return TrainSpec(
            method=self.method.model_dump(mode="json"),
            encoder=self.encoder.model_dump(mode="json"),
            optimisation=self.optimisation.model_dump(mode="json"),
            knn=self.knn.model_dump(mode="json"),
            seed=self.seed,
            shards=[str(folder) for folder in shards.folders],
            videos=videos,
            labels=None
            if labels is None
            else {row.video_id: row.label for row in labels.rows if row.split == "train"},
            annotations={role: [str(f) for f in fs] for role, fs in annotations.items()},
            folder=str(ctx.work),
            device=ctx.device,
            threads=ctx.threads,
            loader_workers=ctx.loader_workers,
        )

    def _save_views(self, spec: TrainSpec) -> None:
        """Keep a picture of what the encoder was shown, beside its weights."""
        from stages.learning.data import Examples
        from storage_schemas.jpeg import encode_png

        examples = Examples.of(spec)
        count = min(_PICTURED_EXAMPLES, len(examples))
        pictures = [
            picture
            for i in range(count)
            if (picture := self.method.picture(examples.views((0, i * len(examples) // count))))
            is not None
        ]
        if pictures:
            (Path(spec.folder) / "views.png").write_bytes(encode_png(stack(pictures)))

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8] | None:
        """What the encoder was shown, above the curves of its training."""
        from storage_schemas.jpeg import decode_jpeg

        assert isinstance(output, EncoderFiles)
        rows = [json.loads(line) for line in output.log.read_text().splitlines()]
        curves = training_curves(rows)
        views = output.folder / "views.png"
        return stack([decode_jpeg(views.read_bytes()), curves]) if views.exists() else curves


def _bank(trajectories: Trajectories, work: Path) -> Path:
    """Folder that workers map the bank from: its artifact, if it has one."""
    if trajectories.mapped_folder is not None:
        return trajectories.mapped_folder
    bank = work / "trajectories"
    bank.mkdir(exist_ok=True)
    trajectories.write(bank)
    return bank
