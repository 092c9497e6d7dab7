"""The tour: real clips through every preprocessing stage, CtP on labelled procedural videos.

The real clips (13 scenes) are too few to learn or measure anything on, so pretraining and
evaluation use `motion_shapes`, whose class is the motion. Settings fit two CPU cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.graph import Step, walk
from pipeline.parameters import OWN, cited
from stages.decode.decode import Decode
from stages.detect.detect import Detect
from stages.propose.felzenszwalb import Felzenszwalb
from stages.propose.random_boxes import RandomBoxes
from stages.propose.slic import Slic
from stages.report.report import Report
from stages.shard.shard import MakeShard
from stages.sources.folder import Folder
from stages.track.track import Track
from workflows.tiny import FINETUNING, TRAININGS, on_shapes

CLIPS = Path(__file__).parents[2] / "assets" / "clips"


def recipe() -> Sequence[Step]:
    """Two branches that meet in the report."""
    clips = Folder(path=cited(CLIPS, OWN)).of(step_name="clips")
    frames = Decode().of(videos=clips)
    preprocessed = [
        Track().of(frames=frames),
        Slic().of(frames=frames),
        Felzenszwalb().of(frames=frames),
        RandomBoxes().of(frames=frames),
        Detect().of(frames=frames),
        cited(MakeShard(backend="hdf5", short_side=128), OWN).of(frames=frames),
    ]
    # Each method reads what it needs; the rest is not computed. Try --set pretrain.method=NAME.
    results = on_shapes(TRAININGS["ctp"], finetune=FINETUNING)
    title = cited("tubelet demo", OWN)
    return [Report(title=title).of(about=[*preprocessed, *results, *_other_maps(results)])]


def _other_maps(results: Sequence[Step]) -> list[Step]:
    """Maps that only the heads of RSPNet and ConST-CL show, after half of their trainings."""
    made = {step.name: step for step in walk(results, unread=True)}
    shards, labels, split = (made[f"shapes_{name}"] for name in ("shard", "labels", "split"))
    found = []
    for method in ("rspnet", "constcl"):
        training = TRAININGS[method]
        epochs = training.optimisation.epochs // 2
        half = training.optimisation.model_copy(update={"epochs": epochs})
        encoder = training.model_copy(update={"optimisation": half}).of(
            shards=shards, split=split, labels=labels, step_name=f"pretrain_{method}"
        )
        maps = made["encoder_maps"].stage.of(
            encoder=encoder,
            shards=shards,
            labels=labels,
            boxes=made["shape_masks"],
            step_name=f"encoder_maps_{method}",
        )
        found.append(maps)
    return found
