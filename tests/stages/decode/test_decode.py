"""Decode real files that are made here, sound and broken in every way the issue names."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.decode import decode as decode_module
from stages.decode.decode import Decode, upright
from storage_schemas.errors import BadVideo
from storage_schemas.frames import Frames
from storage_schemas.videos import VideoFile

CLIPS = Path(__file__).parents[3] / "assets" / "clips"


def pictures(count: int, height: int = 64, width: int = 96) -> NDArray[np.uint8]:
    """A grey pan with fresh noise in each frame, so that no frame is free to encode."""
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(20, 200, (12, 60), np.uint8), (width + 250, height))
    frames = np.stack([wall[:, t : t + width] for t in range(count)])
    frames = frames + rng.integers(0, 30, frames.shape, np.uint8)
    return np.repeat(frames[..., None], 3, axis=-1)


def write(
    path: Path,
    frames: NDArray[np.uint8],
    *,
    fps: int = 25,
    codec: str = "libx264",
    pts: Sequence[int] | None = None,
    container: dict[str, str] | None = None,
    **options: str,
) -> Path:
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv444p" if frames.shape[1] % 2 else "yuv420p"
        if codec == "mjpeg":
            stream.pix_fmt = "yuvj420p"
        stream.options = {"threads": "1", **options}
        if pts is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for t, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[t], Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def cut(path: Path, fraction: float, *, align: int = 1) -> Path:
    data = path.read_bytes()
    out = path.with_stem(path.stem + "_cut")
    out.write_bytes(data[: int(len(data) * fraction) // align * align])
    return out


def decode(path: Path, digest: str = "sha", **parameters: object) -> Frames:
    # Generated videos are listed before they exist, so the size is not to be trusted.
    video = VideoFile(video_id=path.name, digest=digest, bytes=0, place=path)
    return Decode.model_validate(parameters).process(videos=video)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "whole.mp4"
    return write(path, pictures(250), container={"movflags": "faststart"})


def test_complete_video(whole: Path) -> None:
    video = decode(whole)
    assert (len(video), video.height, video.width) == (250, 64, 96)
    assert (video.probe.status, video.probe.frames_expected) == ("complete", 250)
    assert (video.probe.codec, video.probe.average_fps) == ("h264", 25.0)
    assert not video.probe.variable_frame_rate
    np.testing.assert_array_equal(video.pts_seconds, [n * 512 / 12800 for n in range(250)])
    np.testing.assert_array_equal(video.source_frames, np.arange(250))
    wanted = pictures(250)[[0, 100, 249]].astype(float)
    assert np.abs(video.decode([0, 100, 249]) - wanted).mean() < 12


def test_truncated_mp4_is_quarantined_with_both_counts(whole: Path) -> None:
    with pytest.raises(BadVideo, match=r"\d+ of 250 frames decoded.*decode.partial=keep") as caught:
        decode(cut(whole, 0.46))
    assert caught.value.frames_expected == 250
    assert caught.value.frames_got is not None
    assert 80 < caught.value.frames_got < 130


def test_truncated_mp4_can_be_kept(whole: Path) -> None:
    video = decode(cut(whole, 0.46), partial="keep")
    assert video.probe.status == "partial"
    assert video.probe.frames_decoded == len(video) < 130
    assert video.probe.frames_expected == 250
    with pytest.raises(BadVideo, match=r"of 250 .* less than --set decode.min_fraction=0.8"):
        decode(cut(whole, 0.46), partial="keep", min_fraction=0.8)


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [
        ("v.mkv", "libx264", {}),
        ("v.ts", "libx264", {}),
        ("v.avi", "mpeg4", {}),
        ("v.avi", "mjpeg", {}),
        ("v.flv", "flv", {}),
        ("v.mp4", "libx264", {}),  # its index is at the end, so nothing can be read
        ("v.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
    ],
)
def test_truncated_container(
    tmp_path: Path, name: str, codec: str, container: dict[str, str]
) -> None:
    path = write(tmp_path / name, pictures(100), codec=codec, container=container, g="10")
    assert len(decode(path)) == 100
    broken = cut(path, 0.46)
    if broken.stat().st_size % 188 == 0:
        broken = cut(path, 0.47)
    with pytest.raises(BadVideo, match=r"frames .*decoded|cannot open"):
        decode(broken)


@pytest.mark.parametrize("kept", [0, 6, 20, 100, None])
def test_fragmented_mp4_cut_in_the_header_of_a_fragment(tmp_path: Path, kept: int | None) -> None:
    """`kept` bytes behind the start of the fourth fragment; None is up to its data."""
    fragments = {"movflags": "frag_keyframe+empty_moov"}
    path = write(tmp_path / "v.mp4", pictures(60), container=fragments, g="10")
    data = path.read_bytes()
    starts = [m.start() - 4 for m in re.finditer(b"moof", data)]
    end = data.index(b"mdat", starts[3]) - 4 if kept is None else starts[3] + kept
    assert starts[3] <= end < data.index(b"mdat", starts[3])
    broken = path.with_name("broken.mp4")
    broken.write_bytes(data[:end])
    if kept == 0:  # whole fragments: nothing is promised beyond them
        assert len(decode(broken)) == 30
        return
    with pytest.raises(BadVideo, match="the file ends inside a frame"):
        decode(broken)


@pytest.mark.parametrize("other", [192, 204])
def test_transport_stream_cut_at_a_size_that_another_kind_would_have(
    tmp_path: Path, other: int
) -> None:
    path = write(tmp_path / "v.ts", pictures(100))
    size = path.stat().st_size // 2 // other * other
    while size % 188 == 0:
        size += other
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BadVideo, match="the file ends inside a frame"):
        decode(path)


def test_transport_stream_cut_between_packets_is_a_shorter_stream(tmp_path: Path) -> None:
    video = decode(cut(write(tmp_path / "v.ts", pictures(100)), 0.46, align=188))
    assert len(video) < 60
    assert video.probe.status == "complete"


def test_damage_in_the_middle(whole: Path, tmp_path: Path) -> None:
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 8] = bytes(len(data) // 8)
    broken = tmp_path / "damaged.mp4"
    broken.write_bytes(data)
    with pytest.raises(BadVideo, match="of 250 frames decoded, the file is cut off or damaged"):
        decode(broken)
    kept = decode(broken, partial="keep")
    assert len(kept) < 250
    assert np.all(np.diff(kept.source_frames) > 0)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg"])
def test_avi_stores_no_times_but_frames_come_in_order(tmp_path: Path, codec: str) -> None:
    frames = np.repeat(np.arange(20, 220, 10, np.uint8), 64 * 96 * 3).reshape(20, 64, 96, 3)
    reordered = {} if codec == "mjpeg" else {"bf": "2"}
    video = decode(write(tmp_path / "v.avi", frames, codec=codec, **reordered))
    assert len(video) == 20
    assert (np.diff(video.frames_THWC.mean(axis=(1, 2, 3))) >= 0).all()
    assert video.pts_seconds == pytest.approx(np.arange(20) / 25)


def test_lying_header_is_not_believed_in_silence(tmp_path: Path) -> None:
    path = write(tmp_path / "v.avi", pictures(68), codec="mpeg4")
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.find(b"strh") + 8 + 32, 444)
    path.write_bytes(data)
    with pytest.raises(BadVideo, match="68 of 444 frames"):
        decode(path)


def test_edit_list_trims_without_loss(whole: Path, tmp_path: Path) -> None:
    data = bytearray(whole.read_bytes())
    at = data.find(b"elst") + 12
    _, start = struct.unpack_from(">II", data, at)
    struct.pack_into(">II", data, at, 4000, start + 3 * 12800)  # seconds 3 to 7
    path = tmp_path / "trimmed.mp4"
    path.write_bytes(data)
    video = decode(path)
    assert (len(video), video.probe.frames_expected, video.probe.status) == (100, 100, "complete")
    assert video.pts_seconds[0] == 0


def test_hidden_vp8_references_are_no_loss(tmp_path: Path) -> None:
    path = write(tmp_path / "v.webm", pictures(40), codec="libvpx", deadline="realtime")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as file:
        packets = [bytes(packet) for packet in file.demux() if packet.size]
    for packet in packets[5::8]:
        data[data.find(packet)] &= ~0x10  # the show_frame bit
    path.write_bytes(data)
    video = decode(path)
    assert len(video) == video.probe.frames_expected == 35
    assert video.probe.status == "complete"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", "empty"),
        ("text.mp4", b"not a video\n" * 100, "cannot open"),
        ("list.mp4", b"ffconcat version 1.0\nfile whole.mp4\n", "playlist|cannot open"),
    ],
)
def test_not_a_video(whole: Path, name: str, content: bytes, message: str) -> None:
    path = whole.with_name(name)
    path.write_bytes(content)
    with pytest.raises(BadVideo, match=message):
        decode(path)


def test_missing_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(BadVideo, match=r"No such file"):
        decode(tmp_path / "gone.mp4")
    with pytest.raises(BadVideo, match=r"cannot be read: Permission denied"):
        decode(tmp_path / "locked.mp4", digest="unreadable: Permission denied")


@pytest.mark.parametrize("cover", [False, True])
def test_audio_only(tmp_path: Path, cover: bool) -> None:
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=8000, layout="mono")
        if cover:
            picture = file.add_stream("mjpeg", rate=1)
            picture.height, picture.width, picture.pix_fmt = 32, 32, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
        samples = np.zeros((1, 8192), np.float32)
        sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        sound.sample_rate = 8000
        file.mux(stream.encode(sound))
        file.mux(stream.encode())
        if cover:
            image = av.VideoFrame.from_ndarray(pictures(1, 32, 32)[0], format="rgb24")
            file.mux(picture.encode(image.reformat(format="yuvj420p")))
            file.mux(picture.encode())
    with pytest.raises(BadVideo, match=r"no video stream \(its streams: audio"):
        decode(path)


def test_one_frame(tmp_path: Path) -> None:
    video = decode(write(tmp_path / "one.mp4", pictures(1)))
    assert (len(video), video.probe.average_fps) == (1, 0.0)
    assert Decode().preview(video).dtype == np.uint8


def test_odd_size(tmp_path: Path) -> None:
    path = write(tmp_path / "odd.mp4", pictures(5, 47, 63))
    video = decode(path)
    assert video.frames_THWC.shape == (5, 47, 63, 3)
    assert np.abs(video.frames_THWC[2] - pictures(5, 47, 63)[2].astype(float)).mean() < 12
    small = decode(path, short_side=16)
    assert (small.height, small.width) == (16, 21)


# The left half is red, the top right quarter green, the bottom right quarter blue.
RED, GREEN, BLUE = 0, 1, 2


def corners(image: NDArray[np.uint8]) -> list[int]:
    """Dominant channel top left, top right, bottom left, bottom right."""
    h, w = image.shape[:2]
    places = [
        (h // 4, w // 4),
        (h // 4, 3 * w // 4),
        (3 * h // 4, w // 4),
        (3 * h // 4, 3 * w // 4),
    ]
    return [int(image[place].argmax()) for place in places]


@pytest.mark.parametrize(
    ("matrix", "degrees", "shown"),
    [
        ((1, 0, 0, 1), 0, [RED, GREEN, RED, BLUE]),
        ((0, 1, -1, 0), 90, [RED, RED, BLUE, GREEN]),  # clockwise
        ((-1, 0, 0, -1), 180, [BLUE, RED, GREEN, RED]),
        ((0, -1, 1, 0), 270, [GREEN, BLUE, RED, RED]),
        ((-1, 0, 0, 1), 180, [GREEN, RED, BLUE, RED]),  # mirrored, as of a front camera
    ],
)
def test_rotation_is_applied_to_the_pixels(
    tmp_path: Path, matrix: tuple[int, ...], degrees: int, shown: list[int]
) -> None:
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, :48, RED] = picture[:32, 48:, GREEN] = picture[32:, 48:, BLUE] = 200
    path = write(tmp_path / "phone.mp4", np.stack([picture] * 3))
    data = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", data, data.find(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    video = decode(path, short_side=32)
    assert (video.height, video.width) == ((48, 32) if degrees % 180 else (32, 48))
    assert corners(video.frames_THWC[1]) == shown
    assert video.probe.rotation_degrees == degrees
    assert (video.probe.source_height, video.probe.source_width) == (64, 96)


def test_upright_agrees_with_numpy() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    clockwise = np.array([[0, 1], [-1, 0]])
    turned = upright(image, clockwise)
    np.testing.assert_array_equal(turned, np.rot90(image, -1))
    assert turned.flags.c_contiguous
    for power in range(4):
        turned = upright(image, np.linalg.matrix_power(clockwise, power))
        np.testing.assert_array_equal(turned, np.rot90(image, -power))


def test_variable_frame_rate_keeps_exact_times(tmp_path: Path) -> None:
    pts = [0, 40, 80, 200, 240, 500, 533, 566]
    video = decode(write(tmp_path / "vfr.mkv", pictures(8), pts=pts))
    np.testing.assert_array_equal(video.pts_seconds, [p / 1000 for p in pts])
    assert video.probe.variable_frame_rate


def test_millisecond_ticks_are_not_a_variable_rate(tmp_path: Path) -> None:
    pts = [round(n * 1000 / 60) for n in range(30)]
    video = decode(write(tmp_path / "cfr.mkv", pictures(30), pts=pts))
    assert not video.probe.variable_frame_rate
    assert video.probe.average_fps == pytest.approx(60, abs=0.1)


def test_times_count_from_the_start_of_the_stream(tmp_path: Path) -> None:
    pts = [5000 + 40 * n for n in range(10)]
    video = decode(write(tmp_path / "late.mkv", pictures(10), pts=pts))
    np.testing.assert_array_equal(video.pts_seconds, [40 * n / 1000 for n in range(10)])
    stream = decode(write(tmp_path / "v.ts", pictures(10)))
    np.testing.assert_array_equal(stream.pts_seconds, [n * 3600 / 90000 for n in range(10)])


@pytest.mark.parametrize("how", ["two streams in a row", "each time twice"])
def test_frames_lost_to_repeated_times_are_not_lost_in_silence(tmp_path: Path, how: str) -> None:
    path = tmp_path / "v.ts"
    if how == "two streams in a row":  # as `cat a.ts b.ts` makes them: times start over
        write(path, pictures(50), codec="mpeg2video")
        path.write_bytes(2 * path.read_bytes())
    else:
        source = write(tmp_path / "v.avi", pictures(100), codec="mjpeg")
        path = tmp_path / "v.mkv"
        with av.open(str(source)) as old, av.open(str(path), "w") as new:
            stream = new.add_stream_from_template(old.streams.video[0])
            for n, packet in enumerate(p for p in old.demux(video=0) if p.size):
                packet.pts = packet.dts = n // 2
                packet.stream = stream
                new.mux(packet)
    with pytest.raises(BadVideo, match=r"^50 of 100 frames .* times of 50 frames .*genpts"):
        decode(path)
    video = decode(path, partial="keep")
    assert (len(video), video.probe.status) == (50, "partial")
    assert (video.probe.frames_decoded, video.probe.frames_expected) == (50, 100)


def test_scaling_uses_no_threads_of_its_own(whole: Path) -> None:
    # swscale would start one a core for each frame, for twice the CPU time.
    before = len(os.listdir("/proc/self/task"))
    seen: set[int] = set()
    encode = decode_module.encode_jpeg

    def counting(image: NDArray[np.uint8], *, quality: int) -> bytes:
        seen.add(len(os.listdir("/proc/self/task")))
        return encode(image, quality=quality)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode_module, "encode_jpeg", counting)
        decode(whole, short_side=32)
    assert max(seen) <= before


def test_raw_stream_without_times(tmp_path: Path) -> None:
    video = decode(write(tmp_path / "raw.h264", pictures(10)))
    np.testing.assert_allclose(video.pts_seconds, np.arange(10) / 25)


@pytest.mark.parametrize(
    ("fps", "cap", "kept"),
    [
        (30, 30.0, list(range(30))),
        (30, 60.0, list(range(30))),
        (30, 15.0, list(range(0, 30, 2))),
        (30, 10.0, list(range(0, 30, 3))),
        (25, 10.0, [0, 3, 5, 8, 10, 13, 15, 18, 20, 23, 25, 28]),
        (25, 1.0, [0, 25]),
    ],
)
def test_fps_cap_picks_by_time(tmp_path: Path, fps: int, cap: float, kept: list[int]) -> None:
    # Matroska rounds times to milliseconds, which must not shift the choice.
    pts = [round(n * 1000 / fps) for n in range(30)]
    video = decode(write(tmp_path / "v.mkv", pictures(30), pts=pts), fps_cap=cap)
    assert video.source_frames.tolist() == kept
    np.testing.assert_array_equal(video.pts_seconds, [pts[n] / 1000 for n in kept])
    # The probe tells of the file, not of the choice.
    assert (video.probe.frames_decoded, video.probe.variable_frame_rate) == (30, False)
    assert video.probe.average_fps == pytest.approx(fps, abs=0.2)


@pytest.mark.parametrize(
    "name", ["a b.mp4", "ünï çødé 视频.mp4", "v_#1(x)&y;$z.mp4", "12:30 %03d.mp4", "-v.mp4"]
)
def test_strange_names(whole: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = whole.with_name(name)
    path.hardlink_to(whole)
    assert len(decode(path)) == 250
    monkeypatch.chdir(path.parent)
    assert len(decode(Path(name), fps_cap=1)) == 10


def test_name_that_is_no_utf8(whole: Path) -> None:
    path = whole.with_name(os.fsdecode(b"caf\xe9.mp4"))
    path.hardlink_to(whole)
    video = VideoFile(video_id="caf\\xe9.mp4", digest="sha", bytes=0, place=path)
    assert len(Decode(fps_cap=1).process(videos=video)) == 10


@pytest.mark.parametrize("name", ["box_a", "dog", "gymnast_cam01"])
def test_real_clip_agrees_with_opencv(name: str) -> None:
    path = CLIPS / f"{name}.mp4"
    capture = cv2.VideoCapture(str(path))
    reference, times = [], []
    while True:
        ok, bgr = capture.read()
        if not ok:
            break
        reference.append(bgr[..., ::-1])
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    video = decode(path, quality=95)
    assert len(video) == video.probe.frames_expected == len(reference)
    np.testing.assert_allclose(video.pts_seconds, times, atol=1e-6)
    last = len(reference) - 1
    difference = np.abs(video.decode([0, last]) - np.stack(reference)[[0, last]].astype(float))
    assert difference.mean() < 3


def test_only_shrinks_and_keeps_the_aspect_ratio() -> None:
    path = CLIPS / "dog.mp4"
    full, small = decode(path, short_side=10_000), decode(path, short_side=60)
    assert (full.height, full.width) == (full.probe.source_height, full.probe.source_width)
    assert min(small.height, small.width) == 60
    assert small.width / small.height == pytest.approx(full.width / full.height, rel=0.01)


def test_same_input_same_bytes() -> None:
    first, second = (decode(CLIPS / "dog.mp4", short_side=64) for _ in range(2))
    assert first.to_tables() == second.to_tables()
