"""Supervised training of a classifier on an encoder: fine-tuning, or a frozen encoder."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.parameters import OWN, constant
from pipeline.pictures import stack
from pipeline.stage import Context, GatherStage
from stages.evaluate.clips import EvaluationViews
from stages.evaluate.finetune_presets import FINETUNE, FinetunePreset
from stages.evaluate.recognition import Head, Recognition
from stages.evaluate.split import rows_to_test
from stages.evaluate.stream import map_videos
from stages.evaluate.training_clips import TrainingClips
from stages.learning.curves import training_curves
from stages.learning.launch import train
from stages.learning.optimisation import Optimisation
from stages.learning.train_spec import TrainSpec
from storage_schemas.classifiers import ClassifierFiles
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import StageFailed
from storage_schemas.labels import Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

if TYPE_CHECKING:
    import torch

    from stages.learning.objective import Objective

_PICTURED_EXAMPLES = 3


class Finetune(GatherStage, name="finetune", version=1):
    """Train a linear layer, and unless `frozen` the encoder under it, on the train split.

    An interrupted training resumes from its last checkpoint. `Recognise` tests the result.

    Parameters
    ----------
    preset : str
        Whose recipe; a value given by name wins over it.
    clips : TrainingClips
    head : Head
    frozen : bool
        The linear probe with augmentation.
    optimisation : Optimisation
    selection : {"last", "best_on_test"}
        Which epoch's weights are kept. The second looks at the test split, as much
        published code does, and is told by every number that comes of it.
    evaluate_every : int
        Epochs between two looks, with one clip in the middle of each video.
    seed : int
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = FINETUNE

    preset: FinetunePreset = "none"
    clips: TrainingClips = constant(TrainingClips(), OWN)
    head: Head = constant(Head(), OWN)
    frozen: bool = False
    optimisation: Optimisation = constant(Optimisation(), OWN)
    selection: Literal["last", "best_on_test"] = "last"
    evaluate_every: int = Field(10, ge=1)
    seed: int = Field(0, ge=0)

    @property
    def protocol(self) -> str:
        """Name of the rules."""
        return "linear probe, augmented" if self.frozen else "fine-tune"

    def uses_device(self) -> bool:
        """Its network runs there."""
        return True

    def run(
        self, *, encoder: EncoderFiles, shards: Items[Shard], labels: Labels, ctx: Context
    ) -> ClassifierFiles:
        """Launch the trainer, follow its log, and choose an epoch."""
        spec = self.train_spec(encoder=encoder, shards=shards, labels=labels, ctx=ctx)
        train(spec, ctx)
        self._save_views(spec)
        epoch, accuracies = spec.optimisation["epochs"], {}
        if self.selection == "best_on_test":
            accuracies = self._look_at_test(spec, encoder, shards, labels, ctx)
            epoch = max(accuracies, key=lambda e: (accuracies[e], -e))
        self._write(spec, encoder, labels, epoch=epoch, accuracies=accuracies)
        return ClassifierFiles.open(ctx.work)

    def train_spec(
        self, *, encoder: EncoderFiles, shards: Items[Shard], labels: Labels, ctx: Context
    ) -> TrainSpec:
        """What the process that trains is told."""
        train_videos = {row.video_id for row in labels.rows if row.split == "train" and row.label}
        videos = [video_id for video_id in shards if video_id in train_videos]
        if len(labels.classes) < 2 or not videos:
            raise StageFailed(
                f"{len(videos)} training videos with frames and {len(labels.classes)} classes; "
                "a classifier needs two classes; look at `tubelet quarantine list`"
            )
        if labels.handed and self.clips.flip_probability > 0:
            raise StageFailed(
                f"{len(labels.handed)} classes are another class when mirrored, such as "
                f"{labels.handed[0]!r}: set finetune.clips.flip_probability=0"
            )
        annotation = ctx.work / "labels"
        annotation.mkdir(exist_ok=True)
        labels.write(annotation)
        method = Recognition(
            clips=self.clips,
            head=self.head,
            frozen=self.frozen,
            num_classes=len(labels.classes),
            mean=tuple(encoder.mean),
            std=tuple(encoder.std),
        )
        return TrainSpec(
            method=method.model_dump(mode="json"),
            encoder=dict(encoder.parameters),
            optimisation=self.optimisation.model_dump(mode="json"),
            seed=self.seed,
            shards=[str(folder) for folder in shards.folders],
            annotations={"labels": [str(annotation)]},
            folder=str(ctx.work),
            initial=str(encoder.folder),
            snapshot_every=self.evaluate_every if self.selection == "best_on_test" else 0,
            videos=videos,
            knn={"every": 0},
            device=ctx.device,
            threads=ctx.threads,
            loader_workers=ctx.loader_workers,
        )

    def _look_at_test(
        self,
        spec: TrainSpec,
        encoder: EncoderFiles,
        shards: Items[Shard],
        labels: Labels,
        ctx: Context,
    ) -> dict[int, float]:
        """Top-1 on the test split after each epoch that was kept."""
        views = EvaluationViews(
            num_clips=1,
            num_frames=self.clips.num_frames,
            frame_stride=self.clips.frame_stride,
            clip_rule="cover" if self.clips.sampling == "cover" else "even",
            size=self.clips.size,
        )
        _, rows = rows_to_test(labels, shards)
        videos = {row.video_id: shards[row.video_id] for row in rows}
        classes_V = np.array([labels.classes.index(row.label) for row in rows])
        answers_V = np.zeros(len(rows), int)

        def done(row: int, video_id: str, found: Mapping[str, NDArray[np.float32]]) -> None:
            answers_V[row] = found["logits"].mean(0).argmax()

        accuracies = {}
        for epoch, path in spec.snapshots().items():
            objective = make_objective(spec.method, encoder, objective_state(path))
            map_videos(videos, views, ctx=ctx, network=classify(objective), done=done)
            accuracies[epoch] = float((answers_V == classes_V).mean())
        return accuracies

    def _write(
        self,
        spec: TrainSpec,
        encoder: EncoderFiles,
        labels: Labels,
        *,
        epoch: int,
        accuracies: Mapping[int, float],
    ) -> None:
        """The files of the classifier, beside the log of its training."""
        from stages.learning.trainer import CHECKPOINT, save_atomically

        folder = Path(spec.folder)
        state = objective_state(spec.snapshots().get(epoch, folder / CHECKPOINT))
        for name, prefix in (("encoder.pt", "encoder."), ("classifier.pt", "heads.classifier.")):
            part = {
                key.removeprefix(prefix): value.cpu()
                for key, value in state.items()
                if key.startswith(prefix)
            }
            save_atomically(part, folder / name)
        EncoderFiles.describe(
            folder, encoder.parameters, mean=encoder.mean, std=encoder.std, origin=encoder.origin
        )
        ClassifierFiles.describe_classifier(
            folder,
            classes=list(labels.classes),
            method=dict(spec.method),
            protocol=self.protocol,
            preset="" if self.preset == "none" else self.preset,
            epoch=epoch,
            selection=self.selection,
            test_accuracy={str(e): value for e, value in accuracies.items()},
        )

    def _save_views(self, spec: TrainSpec) -> None:
        """Keep a picture of what the encoder was shown."""
        from stages.learning.data import Examples
        from storage_schemas.jpeg import encode_png

        examples = Examples.of(spec)
        count = min(_PICTURED_EXAMPLES, len(examples))
        pictures = [
            examples.method.picture(examples.views((0, i * len(examples) // count)))
            for i in range(count)
        ]
        shown = [picture for picture in pictures if picture is not None]
        (Path(spec.folder) / "views.png").write_bytes(encode_png(stack(shown)))

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """What the encoder was shown, above the curves of its training."""
        from storage_schemas.jpeg import decode_jpeg

        assert isinstance(output, ClassifierFiles)
        curves = training_curves([json.loads(row) for row in output.log.read_text().splitlines()])
        return stack([decode_jpeg((output.folder / "views.png").read_bytes()), curves])


def objective_state(path: Path) -> Mapping[str, Any]:
    """Weights of encoder and head, from a snapshot or the trainer's checkpoint."""
    from stages.learning.encoders import load_state

    state = load_state(path)
    objective: Mapping[str, Any] = state.get("objective", state)
    return objective


def load_classifier(files: ClassifierFiles) -> Objective:
    """Encoder and head of an artifact, ready to be tested."""
    from stages.learning.encoders import load_state

    parts = (("encoder.", files.weights), ("heads.classifier.", files.head))
    state = {
        prefix + name: value for prefix, path in parts for name, value in load_state(path).items()
    }
    return make_objective(files.method, files, state)


def make_objective(
    method: Mapping[str, Any], encoder: EncoderFiles, state: Mapping[str, Any]
) -> Objective:
    """Encoder and head with these weights, ready to be tested."""
    from stages.learning.encoder_spec import EncoderSpec
    from stages.learning.encoders import build
    from stages.learning.objective import Objective

    spec = EncoderSpec.model_validate(encoder.parameters)
    objective = Objective(Recognition.choose(dict(method)), build(spec))
    objective.load_state_dict(state)
    return objective.eval()


def classify(objective: Objective) -> Any:
    """``logits`` of views on any device, for `map_videos`."""

    def network(device: torch.device) -> Any:
        there = copy.deepcopy(objective).to(device)
        method = there.method
        assert isinstance(method, Recognition)
        return lambda clips_NTHWC: {"logits": method.logits(there, clips_NTHWC)}

    return network
