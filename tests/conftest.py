"""Fixtures of all tests: exact videos, a store, one Prefect server, restored generators."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TESTS = Path(__file__).parent
CLIPS = TESTS.parent / "assets" / "clips"

# Stages of the tests live in a module that child processes can import, too.
sys.path.insert(0, str(TESTS))
os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")


@pytest.fixture(autouse=True)
def _restore_generators() -> Iterator[None]:
    """A test that draws from a global generator must not change the next one."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002


@pytest.fixture
def store(tmp_path: Path) -> Any:
    from pipeline.store import Store

    return Store(tmp_path / "store")


def moving_square(num_frames: int = 12, size: tuple[int, int] = (48, 64), seed: int = 0) -> Any:
    """A bright square that moves 2 pixels a frame over noise: (T, H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    height, width = size
    background = rng.integers(40, 120, (height, width, 3), dtype=np.uint8)
    frames = np.repeat(background[None], num_frames, axis=0)
    for t in range(num_frames):
        x = 4 + (2 * t) % max(1, width - 20)
        frames[t, 10:22, x : x + 12] = (230, 60 + seed % 100, 40)
    return frames


@pytest.fixture
def make_video() -> Callable[..., Path]:
    """Write a real H.264 file: ``make_video(path, frames_THWC, fps=25)``."""

    def write(path: Path, frames: Any = None, *, fps: int = 25, seed: int = 0) -> Path:
        import av

        frames = moving_square(seed=seed) if frames is None else frames
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(fps))
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.options = {"threads": "1"}
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write


def frames_of(video_id: str = "a.mp4", frames: Any = None, *, kind: Any = None, **more: Any) -> Any:
    """In-memory `Frames`, or a subclass: ``frames_of("a.mp4", frames_THWC)``."""
    from storage_schemas.frames import Frames, Probe
    from storage_schemas.jpeg import encode_jpeg

    frames = moving_square(**more) if frames is None else frames
    return (kind or Frames)(
        video_id=video_id,
        jpegs=[encode_jpeg(frame, quality=95) for frame in frames],
        pts_seconds=np.arange(len(frames)) / 25,
        source_frames=np.arange(len(frames), dtype=np.int32),
        height=frames.shape[1],
        width=frames.shape[2],
        probe=Probe(codec="h264", frames_expected=len(frames), frames_decoded=len(frames)),
    )


@pytest.fixture
def make_frames() -> Callable[..., Any]:
    """`frames_of`, for tests that take it as a fixture."""
    return frames_of


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A real S3 API server, with an empty bucket, that this process and its children ask."""
    from s3_server import s3_server

    with s3_server() as url:
        yield url


@pytest.fixture
def url(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a store may be made in a bucket; its scratch is in the test's folder."""
    from s3_server import BUCKET

    monkeypatch.setenv("TUBELET_SCRATCH", str(tmp_path / "scratch"))
    return f"s3://{BUCKET}/{tmp_path.name}/store"


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One real Prefect server for the whole session; it needs 20-40 s to start."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield
