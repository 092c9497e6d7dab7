"""Decode a video with PyAV: exact times, every frame accounted for.

The rule of frame accounting (docs/decisions/0003): the container promises a number of
frames, by its header or by its duration. If fewer come out, beyond a small tolerance, the
video is quarantined, or kept and marked ``partial`` if the user prefers. It is never
silently accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.pictures import caption, strip
from pipeline.stage import VideoStage
from storage_schemas.errors import BadVideo
from storage_schemas.frames import Frames, Probe
from storage_schemas.jpeg import encode_jpeg
from storage_schemas.videos import VideoFile

_UNREADABLE = "unreadable: "
_TOLERATED_FRACTION = 0.02  # of the promised frames or seconds that may be missing
_TOLERATED_SECONDS = 0.5


class Decode(VideoStage, name="decode", version=1):
    """Parameters of decoding.

    ``short_side`` only shrinks; ``fps_cap`` picks frames by their time; ``partial`` says
    what becomes of a video with fewer frames than promised.
    """

    short_side: int = Field(240, ge=16)
    fps_cap: float | None = Field(None, gt=0)
    quality: int = Field(90, ge=1, le=100)
    partial: Literal["quarantine", "keep"] = "quarantine"

    def process(self, *, videos: VideoFile) -> Frames:
        """Decode one file."""
        if videos.digest.startswith(_UNREADABLE):
            cause = videos.digest.removeprefix(_UNREADABLE)
            raise BadVideo(f"the file cannot be read: {cause}; check its permissions or link")
        assert videos.path is not None
        if videos.path.stat().st_size == 0:
            raise BadVideo("the file is empty (0 bytes); copy it again")
        taken = decode_file(
            videos.path, short_side=self.short_side, fps_cap=self.fps_cap, quality=self.quality
        )
        missing = taken.expected - taken.decoded
        partial = missing > max(1, _TOLERATED_FRACTION * taken.expected)
        if partial and self.partial == "quarantine":
            raise BadVideo(
                f"{taken.decoded} of {taken.expected} frames decoded; the file is cut or "
                f"damaged. Replace it, or keep what is there with --set {self.name}.partial=keep",
                frames_got=taken.decoded,
                frames_expected=taken.expected,
            )
        times = np.asarray(taken.times)
        steps = np.diff(times)
        return Frames(
            video_id=videos.video_id,
            jpegs=taken.jpegs,
            pts_seconds=times,
            source_frames=np.asarray(taken.source_frames, np.int32),
            height=taken.height,
            width=taken.width,
            probe=Probe(
                codec=taken.codec,
                source_height=taken.source_height,
                source_width=taken.source_width,
                rotation_degrees=taken.rotation,
                average_fps=round(1 / float(steps.mean()), 6) if len(steps) else 0.0,
                variable_frame_rate=bool(len(steps) and np.ptp(steps) > 0.1 * np.median(steps)),
                frames_expected=taken.expected,
                frames_decoded=taken.decoded,
                status="partial" if partial else "complete",
            ),
        )

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """Four frames over time."""
        assert isinstance(output, Frames)
        chosen = np.linspace(0, len(output) - 1, 4).astype(int)
        text = f"{output.video_id}  {len(output)} frames  {output.width}x{output.height}"
        return caption(strip(output.decode(chosen)), text)


@dataclass
class _Taken:
    """What came out of a file so far."""

    codec: str
    expected: int = 0
    decoded: int = 0
    source_height: int = 0
    source_width: int = 0
    rotation: int = 0
    height: int = 0
    width: int = 0
    jpegs: list[bytes] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    source_frames: list[int] = field(default_factory=list)


def decode_file(path: Path, *, short_side: int, fps_cap: float | None, quality: int) -> _Taken:
    """Decode, scale and compress the frames of the first video stream, one at a time.

    Parameters
    ----------
    path : Path
    short_side : int
        Longest short side of the stored frames, in pixels.
    fps_cap : float or None
        At most one frame is kept in each interval of ``1 / fps_cap`` seconds.
    quality : int
        Of the JPEG images, 1..100.

    Returns
    -------
    _Taken
        Times are seconds from the stream's start, strictly increasing: frames without
        progress in time are decoded and counted, but not stored.

    Raises
    ------
    BadVideo
        If FFmpeg cannot open the file, or it has no video stream, or no frame decodes.

    Notes
    -----
    One thread: with PyAV's automatic threading a damaged packet silently drops the frames
    in flight. Scaling and conversion to RGB are one pass in swscale. The frame's display
    rotation is applied to the pixels.
    """
    import av
    from av.error import FFmpegError

    try:
        container = av.open(str(path), metadata_errors="replace")
    except (FFmpegError, ValueError) as error:
        raise BadVideo(f"FFmpeg cannot open the file as a video: {error}") from error
    with container:
        if not container.streams.video:
            kinds = sorted({stream.type for stream in container.streams}) or ["none"]
            raise BadVideo(f"the file has no video stream (its streams: {', '.join(kinds)})")
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        taken = _Taken(codec=stream.codec_context.name)
        origin = float(stream.start_time * stream.time_base) if stream.start_time else 0.0
        rate = float(stream.average_rate or 25)
        accounting = _Accounting(container, stream)
        last_error = ""
        slot = -1
        packets = container.demux()
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError as error:  # the container itself breaks off here
                last_error = str(error)
                break
            if packet is None:
                break
            accounting.see(packet)
            if packet.stream.index != stream.index:
                continue
            try:
                frames = packet.decode()
            except FFmpegError as error:
                last_error = str(error)
                continue
            for frame in frames:
                time = frame.time - origin if frame.time is not None else taken.decoded / rate
                index = taken.decoded
                taken.decoded += 1
                if taken.times and time <= taken.times[-1]:
                    continue
                if fps_cap is not None:
                    now = int(time * fps_cap + 1e-6)
                    if now <= slot:
                        continue
                    slot = now
                _store(taken, frame, short_side=short_side, quality=quality)
                taken.times.append(time)
                taken.source_frames.append(index)
        taken.expected = max(accounting.expected(), taken.decoded)
    if not taken.jpegs:
        cause = f": {last_error}" if last_error else ""
        raise BadVideo(
            f"no frame of the {taken.codec} stream can be decoded{cause}",
            frames_got=0,
            frames_expected=taken.expected,
        )
    return taken


class _Accounting:
    """How many frames a file promises, compared with the packets that are really there."""

    def __init__(self, container: Any, stream: Any) -> None:
        self.header = int(stream.frames)
        self.duration = container.duration / 1_000_000 if container.duration else 0.0
        self.origin = container.start_time / 1_000_000 if container.start_time else 0.0
        self.index = stream.index
        self.packets = self.discarded = 0
        self.end = 0.0

    def see(self, packet: Any) -> None:
        """Count a packet of any stream; one without data only flushes the decoder."""
        if packet.size == 0:
            return
        if packet.pts is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self.end = max(self.end, end - self.origin)
        if packet.stream.index == self.index:
            self.packets += 1
            self.discarded += bool(packet.is_discard)

    def expected(self) -> int:
        """Frames promised; packets outside of an edit list are not to be shown."""
        if self.header:
            return max(self.header, self.packets) - self.discarded
        lost = self.duration - self.end
        if self.end > 0 and lost > max(_TOLERATED_SECONDS, _TOLERATED_FRACTION * self.duration):
            return round(self.packets * self.duration / self.end) - self.discarded
        return self.packets - self.discarded


def _store(taken: _Taken, frame: Any, *, short_side: int, quality: int) -> None:
    if not taken.jpegs:
        # The size is that of the first frame; a stream that changes it is scaled to it.
        taken.rotation = int(getattr(frame, "rotation", 0) or 0)
        scale = min(1.0, short_side / min(frame.width, frame.height))
        taken.width = max(1, round(frame.width * scale))
        taken.height = max(1, round(frame.height * scale))
        taken.source_width, taken.source_height = frame.width, frame.height
        if taken.rotation % 180:
            taken.width, taken.height = taken.height, taken.width
    quarter_turns = round(taken.rotation / 90) % 4
    width, height = taken.width, taken.height
    if quarter_turns % 2:
        width, height = height, width
    image = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
    if quarter_turns:
        image = np.ascontiguousarray(np.rot90(image, quarter_turns))
    taken.jpegs.append(encode_jpeg(image, quality=quality))
