"""Versions kept honest: what a deterministic stage gives may change only with its version.

``golden.json`` holds a digest of the output of each stage on a tiny synthetic video. After
bumping a version, ``TUBELET_UPDATE_GOLDEN=1 pytest tests/test_golden.py`` takes the new
digest over. It never replaces one under the same version: stored artifacts would be taken
for what the changed stage gives.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest
import scipy.io

from pipeline.source import Source
from pipeline.stage import Context, Stage
from pipeline.variant import Variant
from stages.decode.decode import Decode
from stages.detect.detect import Detect
from stages.propose.felzenszwalb import Felzenszwalb
from stages.propose.random_boxes import RandomBoxes
from stages.propose.slic import Slic
from stages.shard.shard import MakeShard
from stages.sources.jhmdb import PuppetMasks
from stages.sources.mini_kinetics200 import HumanBoxes
from stages.sources.motion_shapes import MotionShapes
from stages.sources.shape_masks import ShapeMasks
from stages.synthesize.synthesize import Synthesize
from stages.track.track import Track
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames
from storage_schemas.shards import Shard
from storage_schemas.videos import VideoFile
from workflows.catalogue import find_stages

GOLDEN = Path(__file__).with_name("golden.json")
UPDATE = os.environ.get("TUBELET_UPDATE_GOLDEN") == "1"
# They need torch or scikit-learn, whose results differ between processors, or render a page.
NOT_BIT_EXACT = ("stages.pretrain", "stages.evaluate", "stages.report")

DECIMALS = 3


def canonical(value: Any, decimals: int = DECIMALS) -> Any:
    """A value as JSON has it: floats rounded, bytes as their SHA-256, arrays as lists."""
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, np.ndarray):
        # Shape and type stand beside the values; an empty list would not tell them.
        return [str(value.dtype), *value.shape, canonical(value.ravel().tolist(), decimals)]
    if isinstance(value, float):
        return round(value, decimals) + 0.0  # no negative zero
    if isinstance(value, Mapping):
        return {str(key): canonical(one, decimals) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(one, decimals) for one in value]
    return value


def digest(value: Any, decimals: int = DECIMALS) -> str:
    text = json.dumps(canonical(value, decimals), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def columns(tables: Mapping[str, pa.Table | pa.RecordBatch]) -> dict[str, Any]:
    return {
        f"{stem}.{name}": [str(table.schema.field(name).type), table.column(name).to_pylist()]
        for stem, table in tables.items()
        for name in table.schema.names
    }


def boxes_of(output: Boxes, decimals: int = DECIMALS) -> str:
    assert len(output) > 0, "no box was found: the digest would say nothing"
    return digest(columns(output.to_tables()), decimals)


@pytest.fixture
def frames(make_frames: Callable[..., Any]) -> Frames:
    found: Frames = make_frames(num_frames=16, size=(64, 80), seed=3)
    return found


def _decode(stage: Decode, frames: Frames, folder: Path) -> str:
    path = folder / "a.mkv"
    with av.open(str(path), "w") as container:  # FFV1 is lossless: no encoder has a say
        stream = container.add_stream("ffv1", rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = frames.height, frames.width, "yuv420p"
        for image in frames.frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    video = VideoFile("a.mkv", "digest", path.stat().st_size, path)
    return digest(columns(stage.process(videos=video).to_tables()))


def _shard(stage: MakeShard, frames: Frames, folder: Path) -> str:
    read = {}
    for backend in ("arrow", "hdf5"):
        (folder / backend).mkdir()
        one = MakeShard(**(stage.model_dump() | {"backend": backend}))
        one.write_part(folder / backend, {"a.mp4": one.process(frames=frames).to_tables()})
        read[backend] = columns(Shard.open_part(folder / backend)["a.mp4"].to_tables())
    return digest(read)


def _synthesize(stage: Synthesize, frames: Frames, folder: Path) -> str:
    bank = stage.run(ctx=Context(work=folder))
    return digest({field.name: getattr(bank, field.name) for field in fields(bank)})


def _motion_shapes(stage: MotionShapes, frames: Frames, folder: Path) -> str:
    dataset = stage.run(ctx=Context(work=folder))
    found: dict[str, Any] = {}
    for row in stage.listing():
        with av.open(str(dataset.videos_root / row.video_id)) as container:
            pixels = [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]
        found[row.video_id] = [
            pixels,
            columns(dataset.truth[row.video_id].to_tables()),
            columns({"speeds": dataset.speeds[row.video_id]}),
        ]
    for path in sorted(dataset.lists_root.iterdir()):
        found[path.name] = path.read_bytes()
    return digest(found)


def _puppet_masks(stage: PuppetMasks, frames: Frames, folder: Path) -> str:
    mask = np.zeros((frames.height, frames.width, len(frames)), np.uint8)
    for t in range(len(frames)):
        mask[4 : 20 + t, 2 * t : 2 * t + 9, t] = 1
    scipy.io.savemat(folder / "puppet_mask.mat", {"part_mask": mask})
    masks = VideoFile("a.mp4", "digest", 1, folder / "puppet_mask.mat")
    return boxes_of(stage.process(masks=masks, frames=frames))


def _human_boxes(stage: HumanBoxes, frames: Frames, folder: Path) -> str:
    people = {t + 1: {"human_boxes": np.array([[t, 2.5, 90, 200 + t, 0.9]])} for t in range(9)}
    content: Any = {"class": {"a.mp4": people}}
    np.save(folder / "boxes.npy", content, allow_pickle=True)
    boxes = VideoFile("a.mp4", "digest", 1, folder / "boxes.npy")
    return boxes_of(stage.process(boxes=boxes, frames=frames))


def _shape_masks(stage: ShapeMasks, frames: Frames, folder: Path) -> str:
    shapes = MotionShapes(
        num_classes=2, train_per_class=1, test_per_class=1, num_frames=4, size=32, num_objects=2
    )
    dataset, video_id = shapes.run(ctx=Context(work=folder)), shapes.listing()[0].video_id
    stored = vars(frames) | {
        "video_id": video_id,
        "jpegs": frames.jpegs[:4],
        "pts_seconds": frames.pts_seconds[:4],
        "source_frames": frames.source_frames[:4],
    }
    video = VideoFile(video_id, "digest", 1, dataset.videos_root / video_id)
    return boxes_of(stage.process(videos=video, frames=Frames(**stored)))


def _boxes(stage: Any, frames: Frames, folder: Path) -> str:
    return boxes_of(stage.process(frames=frames))


def _detect(stage: Detect, frames: Frames, folder: Path) -> str:
    # Sums of a convolution differ between processors by about 1e-4 pixels.
    return boxes_of(stage.process(frames=frames), decimals=1)


CASES: tuple[tuple[Stage, Callable[[Any, Frames, Path], str]], ...] = (
    (Decode(short_side=48, fps_cap=12), _decode),
    (Track(), _boxes),
    (Slic(), _boxes),
    (Felzenszwalb(scales=(50, 100)), _boxes),
    (RandomBoxes(seed=1), _boxes),
    (Detect(detector="nanodet", score_threshold=0.05, max_boxes=3, frame_stride=8), _detect),
    (MakeShard(short_side=32), _shard),
    (PuppetMasks(), _puppet_masks),
    (HumanBoxes(), _human_boxes),
    (ShapeMasks(), _shape_masks),
    (Synthesize(num_trajectories=8), _synthesize),
    (
        MotionShapes(
            num_classes=2, train_per_class=1, test_per_class=1, num_frames=4, size=32, num_objects=2
        ),
        _motion_shapes,
    ),
)


def version_of(stage: Stage) -> str:
    """Version of a stage, and of the choices that its parameters name."""
    choices = [value for _, value in stage if isinstance(value, Variant)]
    return ", ".join([str(stage.version), *(f"{one.name} {one.version}" for one in choices)])


def complaint(stage: Stage, found: str, entry: Mapping[str, str] | None) -> str | None:
    """What is wrong with the golden digest of a stage, None if it is right."""
    update = "run TUBELET_UPDATE_GOLDEN=1 pytest tests/test_golden.py"
    version = version_of(stage)
    if entry is None:
        return f"stage {stage.name!r} has no golden digest: {update}"
    if entry["version"] != version:
        return (
            f"stage {stage.name!r} has version {version}, its golden digest is of version "
            f"{entry['version']}: {update}"
        )
    if entry["digest"] != found:
        return (
            f"the output of stage {stage.name!r} changed under version {version}: bump the "
            f"version of {type(stage).__name__}, or undo the change; new digest {found}"
        )
    return None


@pytest.mark.parametrize(("stage", "run"), CASES, ids=[stage.name for stage, _ in CASES])
def test_output_changes_only_with_the_version(
    stage: Stage, run: Callable[[Any, Frames, Path], str], frames: Frames, tmp_path: Path
) -> None:
    found = run(stage, frames, tmp_path)
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    entry = golden.get(stage.name)
    if UPDATE and (entry is None or entry["version"] != version_of(stage)):
        golden[stage.name] = {"version": version_of(stage), "digest": found}
        GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")
        entry = golden[stage.name]
    message = complaint(stage, found, entry)
    assert message is None, message


def test_every_deterministic_stage_has_an_entry() -> None:
    expected = {
        stage.name
        for stage in find_stages()
        if not issubclass(stage, Source) and not stage.__module__.startswith(NOT_BIT_EXACT)
    }
    missing = expected - {stage.name for stage, _ in CASES}
    assert not missing, f"add a case for {sorted(missing)} to tests/test_golden.py"
    stale = set(json.loads(GOLDEN.read_text())) - expected
    assert not stale, f"tests/golden.json names {sorted(stale)}, which are no stages any more"


def test_complaints_name_the_remedy() -> None:
    stage = Slic()
    now = version_of(stage)
    assert complaint(stage, "a", {"version": now, "digest": "a"}) is None
    assert complaint(stage, "new", {"version": now, "digest": "old"}) == (
        f"the output of stage 'slic' changed under version {now}: bump the version of Slic, or "
        "undo the change; new digest new"
    )
    for digest_ in ("old", "new"):
        bumped = complaint(stage, "new", {"version": "0", "digest": digest_})
        assert bumped is not None
        assert "TUBELET_UPDATE_GOLDEN=1" in bumped
    assert version_of(Detect()) == f"{Detect.version}, nanodet {Detect().detector.version}"


def test_digest_sees_what_matters() -> None:
    base = {"x": np.array([1.0, 2.0], np.float32), "b": b"jpeg"}
    assert digest(base) == digest({"b": b"jpeg", "x": np.array([1.00004, 2.0], np.float32)})
    for other in (
        {"x": np.array([1.01, 2.0], np.float32), "b": b"jpeg"},
        {"x": np.array([1.0, 2.0]), "b": b"jpeg"},
        {"x": np.array([[1.0, 2.0]], np.float32), "b": b"jpeg"},
        {"x": np.array([1.0, 2.0], np.float32), "b": b"jpeG"},
    ):
        assert digest(other) != digest(base)
