"""`tubelet show` with pictures, on artifacts made from a real clip by the real command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline.film import enlargement
from pipeline.ink import PALETTE, palette
from pipeline.store import Store
from stages.propose.slic import Slic
from stages.track.track import Track
from storage_schemas.boxes import Boxes
from storage_schemas.errors import ParameterError, StoreError
from storage_schemas.frames import Frames
from storage_schemas.jpeg import decode_jpeg, encode_jpeg
from workflows import show
from workflows.cli import main
from workflows.picture_files import is_ours

CLIP = Path(__file__).parents[2] / "assets" / "clips" / "walker_a.mp4"
VIDEO = "real/a walker.mp4"
RECIPE = '''
"""Every annotation stage on small frames."""

from pipeline.stage import VideoStage
from stages.decode.decode import Decode
from stages.detect.detect import Detect
from stages.propose.slic import Slic
from stages.shard.shard import MakeShard
from stages.sources.folder import Folder
from stages.synthesize.synthesize import Synthesize
from stages.track.track import Track
from storage_schemas.boxes import Boxes


class Mirror(VideoStage, name="mirror", version=1):
    """A stage that tubelet does not know; it reads boxes, not frames."""

    frame_stride: int = 8

    def process(self, *, boxes: Boxes) -> Boxes:
        return boxes


def recipe():
    frames = Decode(short_side=121).of(videos=Folder(path="videos").of())
    slic = Slic().of(frames=frames)
    return [
        Track().of(frames=frames), slic, Mirror().of(boxes=slic),
        Detect(score_threshold=0.2).of(frames=frames),
        MakeShard(backend="hdf5").of(frames=frames),
        Synthesize(num_trajectories=4, num_frames=8, size=64).of(),
    ]
'''


Say = Callable[..., str]


@pytest.fixture
def tubelet(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Say:
    """The command, run in an empty folder from which the store is seen."""
    (tmp_path / ".tubelet").symlink_to(made / ".tubelet")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, fails: bool = False) -> str:
        monkeypatch.setattr(sys, "argv", ["tubelet", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert (ended.value.code != 0) == fails, captured
        return " ".join((captured.out + captured.err).split())  # lines are broken anywhere

    return run


def write_clip(path: Path, count: int) -> None:
    """Frames of a real clip at irregular times, as an old telephone would write them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = np.random.default_rng(0).integers(30, 90, count)
    with av.open(str(CLIP)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = 242, 426, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for frame, pts in zip(source.decode(video=0), np.cumsum(steps).tolist(), strict=False):
            small = frame.reformat(width=426, height=242, format="yuv420p")
            small.pts, small.time_base = pts, Fraction(1, 1000)
            target.mux(stream.encode(small))
        target.mux(stream.encode(None))


def command(folder: Path, *arguments: str) -> str:
    """Output of a real process."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    where = os.pathsep.join([".", os.environ["PYTHONPATH"]])
    done = subprocess.run(
        ["tubelet", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": where},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, `.tubelet`, of a recipe's artifacts."""
    root = tmp_path_factory.mktemp("show")
    (root / "annotations.py").write_text(RECIPE)
    write_clip(root / "videos" / VIDEO, 40)
    (root / "videos" / "cut.mp4").write_bytes(b"no video")
    command(root, "run", "annotations", "--no-prefect", "--max-failed-fraction", "0.9")
    shutil.rmtree(root / "videos")  # pictures are made from the store alone
    (root / "annotations.py").unlink()
    return root


def written() -> list[Path]:
    return sorted(path for path in Path().iterdir() if path.name != ".tubelet")


def stored(made: Path, stage: str) -> tuple[Any, Frames]:
    store = Store(made / ".tubelet")
    (key,) = store.keys(stage)
    (frames,) = store.keys("decode")
    boxes = Boxes.open_part(store.folder(key))[VIDEO]
    return boxes, Frames.open_part(store.folder(frames))[VIDEO]


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with av.open(str(path.absolute())) as container:
        frames = list(container.decode(video=0))
    images = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    return images, np.asarray([frame.time for frame in frames])


@pytest.mark.parametrize("stage", ["track", "slic", "detect", "mirror", "shard"])
def test_a_film_has_every_frame_at_its_time_with_its_boxes(
    made: Path, tubelet: Say, stage: str
) -> None:
    out = tubelet("show", stage, "--video", VIDEO)
    (path,) = written()
    assert path.name.startswith(f"{stage}-")
    assert path.name.endswith("-real_a_walker.mp4")
    assert f"video: {path.name}" in out
    images, times = read(path)
    found, frames = stored(made, "track" if stage == "shard" else stage)
    assert len(images) == len(frames) == 40
    half = np.diff(frames.pts_seconds).min() / 2
    assert half > 0.01
    assert np.abs(times - frames.pts_seconds).max() < 1e-4 < half
    scale = enlargement(frames.height, frames.width)
    height, width = images.shape[1:3]
    assert (frames.width * scale) % 2 == 1, "an odd size is what is to be tested"
    assert (width, height % 2) == (frames.width * scale + 1, 0)
    assert frames.height * scale < height < frames.height * scale + 100
    stride = {"slic": 8, "mirror": 8, "detect": 4}.get(stage, 1)
    plain = frames.frames_THWC.repeat(scale, axis=1).repeat(scale, axis=2).astype(int)
    borders, coloured, changed, elsewhere = 0, [], [], []
    for t in range(len(frames)):
        pixels = images[t, : frames.height * scale, : frames.width * scale].astype(int)
        border = np.zeros(pixels.shape[:2], bool)
        rows = np.arange(len(found))[found.in_frame(t - t % stride)]
        if found.track is not None:
            rows = rows[found.score[rows] >= 0.5]  # the others are faint
        for x1, y1, x2, y2 in np.round(scale * found.xyxy[rows]):
            border[int(y1) : int(y2), int(x1) : int(x2)] = True
            border[int(y1) + 2 : int(y2) - 2, int(x1) + 2 : int(x2) - 2] = False
        borders += border.any()
        difference = np.abs(pixels - plain[t]).max(-1) > 60
        changed += difference[border].tolist()
        elsewhere += difference[~border].tolist()
        near = np.abs(pixels[border][:, None] - PALETTE[:7]).max(-1).min(-1) < 50
        coloured += near.tolist()
    assert borders >= 5
    if stage == "shard":  # where tubes have boxes there is to be nothing
        assert np.mean(changed) < 0.05
        assert np.mean(elsewhere) < 0.05
    else:
        assert np.mean(changed) > 0.6
        assert np.mean(coloured) > 0.6


def test_tubes_keep_their_colours(made: Path, tubelet: Say) -> None:
    tubelet("show", "track", "--video", VIDEO, "--to", "a:[b] é.mp4")
    images, _ = read(Path("a:[b] é.mp4"))
    boxes, frames = stored(made, "track")
    scale = enlargement(frames.height, frames.width)
    near = []
    for frame, track, box, score in zip(
        boxes.frame, boxes.track, boxes.xyxy, boxes.score, strict=True
    ):
        if score >= 0.5:  # the others are faint
            x1, _, x2, y2 = np.round(scale * box).astype(int)
            bottom = images[frame, y2 - 2 : y2, x1 + 2 : x2 - 2].reshape(-1, 3).astype(int)
            near.append((np.abs(bottom - palette(int(track))).max(-1) < 60).mean() > 0.5)
    assert len(near) > 5
    assert np.mean(near) > 0.7  # another tube, or its label, may lie above


@pytest.mark.parametrize(
    "stage",
    ["decode", "track", "slic", "detect", "mirror", "shard", "synthesize"],
)
def test_a_sheet_of_any_annotation(made: Path, tubelet: Say, stage: str) -> None:
    store = Store(made / ".tubelet")
    (key,) = store.keys(stage)
    stages = {"track": Track}  # the others are drawn without their class, too
    manifest = show.find_artifact(store, key, video_id=None)
    note = show.write_sheet(store, manifest, stages, Path("sheet.jpg"), video_id=None)
    sheet = decode_jpeg(Path("sheet.jpg").read_bytes())
    assert note == ""
    assert sheet.shape[1] > 800
    # Boxes and bars are in pure colours; a few pixels of the clip happen to be near them.
    ours = np.abs(sheet[:, :, None].astype(int) - PALETTE[:7]).max(-1).min(-1) < 30
    assert (ours.mean() > 0.005) == (stage not in ("decode", "shard")), ours.mean()
    assert is_ours(Path("sheet.jpg"))


def test_sheet_and_film_of_one_video(made: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    where = ["--store", str(made / ".tubelet"), "--to", str(tmp_path / "out")]
    out = command(tmp_path, "show", "track", "--sheet", "--video", VIDEO, *where)
    sheet, film = sorted((tmp_path / "out").iterdir(), key=lambda path: path.suffix)
    assert f"sheet: {sheet}" in out
    assert f"video: {film}" in out
    assert len(decode_jpeg(sheet.read_bytes())) > 800, "four rows of frames"
    assert read(film)[0].shape[0] == 40


def test_trajectories_are_pasted_into_a_video_of_the_store(tubelet: Say) -> None:
    tubelet("show", "synthesize", "--sheet", "--video", VIDEO)
    sheet, film = sorted(written(), key=lambda path: path.suffix)
    images, times = read(film)
    assert len(images) == 40 // 8 * 8
    assert images.shape[2] == 2 * 64 * 6 + 4
    images = images[:, : 64 * 6]
    assert np.diff(times).min() > 0.02
    left, right = images[:, :, : 64 * 6].astype(int), images[:, :, 64 * 6 + 4 :].astype(int)
    changed = (np.abs(left - right).max(-1) > 60).mean((1, 2))
    assert (changed > 0.01).all()
    assert decode_jpeg(sheet.read_bytes()).shape[1] > 1000


def test_a_foreign_file_is_never_overwritten(tubelet: Say) -> None:
    foreign = encode_jpeg(np.zeros((8, 8, 3), np.uint8), quality=90)
    Path("mine.jpg").write_bytes(foreign)
    Path("mine.mp4").write_text("a diary")
    shutil.copy(CLIP, Path("clip.mp4"))
    for arguments in (
        ["--sheet", "--to", "mine.jpg"],
        ["--video", VIDEO, "--to", "mine.mp4"],
        ["--video", VIDEO, "--to", "clip.mp4"],
    ):
        out = tubelet("show", "track", *arguments, fails=True)
        assert f"{arguments[-1]} exists and is not from `tubelet show`" in out
    assert Path("mine.jpg").read_bytes() == foreign
    assert Path("mine.mp4").read_text() == "a diary"
    tubelet("show", "mirror", "--video", VIDEO, "--to", "ours.mp4")
    before = Path("ours.mp4").read_bytes()
    tubelet("show", "track", "--video", VIDEO, "--to", "ours.mp4")
    assert Path("ours.mp4").read_bytes() != before
    assert not [path for path in Path().iterdir() if path.suffix == ".tmp"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["track", "--video", "real/walker.mp4"], f"in track; did you mean '{VIDEO}'?"),
        (["track", "--video", "0"], f"choose from '{VIDEO}'"),
        (["synthesize", "--video", "real/walker.mp4"], f"did you mean '{VIDEO}'?"),
        (["track", "--video", "cut.mp4"], "decode rejected 'cut.mp4': FFmpeg cannot open"),
        (["nothing", "--sheet"], "no artifact 'nothing'; choose from 'decode'"),
        (["videos", "--sheet"], "has no picture"),
        (["videos", "--video", VIDEO], "is not of a video; frames, shards"),
        (["track", "--sheet", "--video", VIDEO, "--to", "a.mp4"], "a.mp4 must be a folder"),
        (["track", "--to", "a.jpg"], "add --sheet or --video"),
        (["track", "--sheet", "--to", "a.png"], "a.png must end in .jpg"),
        (["track", "--sheet", "--to", "no/a.jpg"], "the folder no does not exist"),
    ],
)
def test_errors_name_the_remedy(tubelet: Say, arguments: list[str], said: str) -> None:
    out = tubelet("show", *arguments, fails=True)
    assert said in out
    assert "Traceback" not in out
    assert written() == []


def test_frames_that_are_gone_are_named(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / ".tubelet", tmp_path / "store")
    store = Store(tmp_path / "store")
    (key,) = store.keys("decode")
    track = show.find_artifact(store, "track", video_id=VIDEO)
    (store.folder(key) / "frames.arrow").unlink()
    with pytest.raises(StoreError, match=rf"{key} is damaged \(frames.*tubelet run"):
        show.open_exhibit(store, track, {})
    store.discard(key)
    with pytest.raises(StoreError, match=rf"{track.key} rests on it, but {key} is absent"):
        show.open_exhibit(store, track, {})


def test_a_stage_of_another_version_adds_nothing_to_what_is_stored(made: Path) -> None:
    store = Store(made / ".tubelet")
    manifest = show.find_artifact(store, "slic", video_id=VIDEO)
    for version, regions in ((Slic.version, 1), (Slic.version + 1, 0)):
        other = replace(manifest, stage_version=version)
        exhibit = show.open_exhibit(store, other, {"slic": Slic})
        marks = exhibit.stage.marks(8, exhibit.items[VIDEO], exhibit.frames[VIDEO])
        assert sum(mark.regions_HW is not None for mark in marks) == regions
        assert exhibit.stage.marked_frame(15) == 8
        assert len(marks) > 4


@pytest.mark.parametrize("stage", ["decode", "track", "slic", "detect", "shard", "synthesize"])
def test_the_picture_for_report_and_prefect_is_small_and_was_not_shrunk(
    made: Path, stage: str
) -> None:
    (path,) = (made / ".tubelet" / "artifacts" / stage).glob("*/preview.jpg")
    assert path.stat().st_size <= 150_000
    assert decode_jpeg(path.read_bytes()).shape[1] >= 900


def test_the_newest_whole_artifact_of_a_stage_is_shown(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / ".tubelet", tmp_path / "store")
    store = Store(tmp_path / "store")
    (key,) = store.keys("track")
    copy = store.folder("track-ffff")
    shutil.copytree(store.folder(key), copy)
    manifest = (copy / "manifest.json").read_text().replace(key, "track-ffff")
    (copy / "manifest.json").write_text(manifest)
    assert show.find_artifact(store, "track", video_id=VIDEO).key == "track-ffff"
    assert show.find_artifact(store, key[:10], video_id=VIDEO).key == key
    (copy / "boxes.arrow").unlink()
    assert show.find_artifact(store, "track", video_id=None).key == key
    store.discard(key)
    with pytest.raises(StoreError, match=r"boxes\.arrow is missing"):
        show.find_artifact(store, "track", video_id=None)


def test_a_path_that_cannot_be_written_is_one_line(made: Path, tubelet: Say) -> None:
    store = Store(made / ".tubelet")
    manifest = show.find_artifact(store, "track", video_id=None)
    with pytest.raises(ParameterError, match=r"/proc/a\.jpg cannot be written"):
        show.write_sheet(store, manifest, {}, Path("/proc/a.jpg"), video_id=None)


@pytest.mark.parametrize(
    "arguments", [["show", "--help"], ["plan", "preprocess"], ["plan", "demo"]], ids=str
)
def test_pictures_cost_nothing_where_none_are_made(arguments: list[str], tmp_path: Path) -> None:
    if arguments[0] == "plan":
        arguments = [*arguments, "--store", str(tmp_path)]
    if "preprocess" in arguments:
        arguments = [*arguments, "--set", f"folder.path={CLIP.parent}"]
    code = (
        f"import sys; from workflows.cli import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit: pass\n"
        "print([m for m in ('cv2', 'av', 'torch', 'prefect') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "[]"


def test_what_is_listed_is_as_before(tubelet: Say) -> None:
    assert "file boxes.arrow" in tubelet("show", "track-")
    assert "quarantined" in tubelet("show", "track")
    assert written() == []
