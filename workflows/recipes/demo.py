"""The tour: real clips through every preprocessing stage, CtP on labelled procedural videos.

The real clips (13 scenes) are too few to learn or measure anything on, so pretraining and
evaluation use `motion_shapes`, whose class is the motion. Settings fit two CPU cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.graph import Step
from pipeline.source import labels_of, split_of
from stages.decode.decode import Decode
from stages.detect.detect import Detect
from stages.evaluate.features import ExtractFeatures
from stages.evaluate.linear_probe import LinearProbe
from stages.evaluate.retrieval import Retrieval
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.online_knn import OnlineKnn
from stages.learning.optimisation import Optimisation
from stages.pretrain.methods.ctp import CtP
from stages.pretrain.pretrain import Pretrain
from stages.propose.felzenszwalb import Felzenszwalb
from stages.propose.random_boxes import RandomBoxes
from stages.propose.slic import Slic
from stages.report.report import Report
from stages.shard.shard import MakeShard
from stages.sources.folder import Folder
from stages.sources.motion_shapes import Generated, MotionShapes
from stages.synthesize.synthesize import Synthesize
from stages.track.track import Track

CLIPS = Path(__file__).parents[2] / "assets" / "clips"
FRAMES, SIZE = 8, 64

# What `benchmarks/ctp_learning.py` measures. The published training has 90,000 steps of 32
# clips; to learn from the 900 x 16 here, patches are bright or dark, seen in every frame, and
# move evenly (docs/quality.md).
SHAPES = MotionShapes(train_per_class=16, test_per_class=8)
BANK = Synthesize(
    num_frames=FRAMES,
    size=SIZE,
    num_trajectories=4096,
    inner_probabilities=(1.0,),
    interpolation="linear",
    visible_probability=1.0,
)
TRAINING = Pretrain(
    method=CtP(
        num_frames=FRAMES,
        size=SIZE,
        strides=(1, 2),
        colour=False,
        patch_gain=1.0,
        hidden=256,
        roi_bins=3,
        initial_std=0.02,
    ),
    encoder=EncoderSpec(width=8),
    knn=OnlineKnn(frame_stride=2),
    optimisation=Optimisation(
        epochs=112,
        batch_size=16,
        learning_rate=0.01,
        milestones=(84, 104),
        gradient_clip=10.0,
        channels_last=True,
    ),
)


def recipe() -> Sequence[Step]:
    """Two branches that meet in the report."""
    clips = Folder(path=CLIPS).of(step_name="clips")
    frames = Decode().of(videos=clips)
    preprocessed = [
        Track().of(frames=frames),
        Slic().of(frames=frames),
        Felzenszwalb().of(frames=frames),
        RandomBoxes().of(frames=frames),
        Detect().of(frames=frames),
        MakeShard(backend="hdf5", short_side=128).of(frames=frames),
    ]

    shapes = Generated().of(dataset=SHAPES.of(), step_name="shapes")
    labels = labels_of(shapes)
    shapes_frames = Decode().of(videos=shapes, step_name="shapes_decode")
    shards = MakeShard().of(frames=shapes_frames, step_name="shapes_shard")
    # Each method reads what it needs; the rest is not computed. Try --set pretrain.method=NAME.
    encoder = TRAINING.of(
        shards=shards,
        split=split_of(shapes),
        labels=labels,
        trajectories=BANK.of(),
        tubes=Track(min_length=4).of(frames=shapes_frames, step_name="shapes_track"),
        proposals=Slic(frame_stride=1).of(frames=shapes_frames, step_name="shapes_slic"),
    )
    features = ExtractFeatures(num_clips=4, num_frames=FRAMES, frame_stride=2, size=SIZE).of(
        encoder=encoder, shards=shards
    )
    results = [
        Retrieval(ks=(1, 5, 10, 20)).of(features=features, labels=labels, shards=shards),
        LinearProbe().of(features=features, labels=labels),
    ]
    return [Report(title="tubelet demo").of(about=[*preprocessed, *results])]
