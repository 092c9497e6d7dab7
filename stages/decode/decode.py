"""Decode a video: exact times, every frame accounted for. Images are in `images`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.stage import VideoStage
from pipeline.wording import counted
from stages.decode.accounting import (
    FrameAccount,
    ends_inside_a_fragment,
    is_hidden,
    ts_packet_bytes,
)
from stages.decode.decoded import DecodedVideo, FrameRate, stored_size
from stages.decode.images import decode_images, image_files
from storage_schemas.errors import BadVideo
from storage_schemas.frames import Frames
from storage_schemas.jpeg import encode_jpeg
from storage_schemas.videos import UNREADABLE, VideoFile

_PLAYLISTS = frozenset({"concat", "dash", "hls"})  # their content lies in other files
_MICROSECONDS = 1_000_000  # unit of a container's times


class Decode(VideoStage, name="decode", version=1):
    """Parameters of decoding.

    Parameters
    ----------
    short_side : int
        Pixels; larger videos are shrunk, smaller ones are left as they are.
    fps_cap : float, optional
        Frames a second to keep at most; picked by their times.
    quality : int
        Of the JPEG images.
    partial : {"quarantine", "keep"}
        What becomes of a video with fewer frames than promised, by the rule of
        docs/decisions/0003-frame-accounting.md.
    min_fraction : float
        Share of the promised frames that a video must have to be kept.
    image_fps : float
        Frames a second of a folder of images, which carry no times; 12 in
        Something-Something V1.
    """

    short_side: int = Field(240, ge=16)
    fps_cap: float | None = Field(None, gt=0)
    quality: int = Field(90, ge=1, le=100)
    partial: Literal["quarantine", "keep"] = "quarantine"
    min_fraction: float = Field(0.0, ge=0, le=1)
    image_fps: float = Field(12.0, gt=0)

    def process(self, *, videos: VideoFile) -> Frames:
        """Decode one file, or a folder of images."""
        if videos.digest.startswith(UNREADABLE):
            cause = videos.digest.removeprefix(UNREADABLE)
            raise BadVideo(f"the file cannot be read: {cause}; check its permissions or link")
        assert videos.path is not None
        images = image_files(videos.path)
        if images is None:
            video = decode_video(
                videos.path, short_side=self.short_side, fps_cap=self.fps_cap, quality=self.quality
            )
        else:
            video = decode_images(
                images,
                image_fps=self.image_fps,
                short_side=self.short_side,
                fps_cap=self.fps_cap,
                quality=self.quality,
            )
        self._accept(video.account)
        height, width = video.size
        return Frames(
            video_id=videos.video_id,
            jpegs=video.jpegs,
            pts_seconds=np.asarray(video.pts_seconds),
            source_frames=np.asarray(video.source_frames, np.int32),
            height=height,
            width=width,
            probe=video.probe(),
        )

    def _accept(self, account: FrameAccount) -> None:
        if not account.partial:
            return
        got, expected = account.decoded, account.expected
        stalled = account.stalled > (expected - got) / 2
        if self.partial == "quarantine":
            first = "rewrite its times with ffmpeg -fflags +genpts" if stalled else "copy it again"
            remedy = f"{first}, or keep what is there with --set {self.name}.partial=keep"
        elif got < self.min_fraction * expected:
            remedy = f"less than --set {self.name}.min_fraction={self.min_fraction:g}"
        else:
            return
        if stalled:
            cause = f"the times of {account.stalled} frames repeat or run backwards"
        elif account.cut_inside:
            cause = "the file ends inside a frame"
        else:
            cause = "the file is cut off or damaged"
        raise BadVideo(
            f"{got} of {counted(expected, 'frame')} decoded, {cause}; {remedy}",
            frames_got=got,
            frames_expected=expected,
        )


def decode_video(
    path: Path, *, short_side: int, fps_cap: float | None, quality: int
) -> DecodedVideo:
    """Decode, scale and compress the frames of the first video stream, one at a time.

    Parameters
    ----------
    path : Path
    short_side : int
        Longest short side of the stored frames, in pixels.
    fps_cap : float or None
        Time is cut into slots of ``1 / fps_cap`` seconds; the first frame of each is kept.
    quality : int
        Of the JPEG images, 1..100.

    Returns
    -------
    DecodedVideo
        ``pts_seconds`` are ``(pts - start) * time_base``, rounded once, and strictly
        increase: a frame that does not advance in time is not stored and counts as lost.
        ``source_frames`` numbers the frames as they came out of the decoder.

    Raises
    ------
    BadVideo
        If FFmpeg cannot open the file, or it has no video stream, or no frame decodes.

    Notes
    -----
    One thread: with PyAV's automatic threading a damaged packet drops the frames in flight
    without an error. Scaling and conversion to RGB are one pass in swscale, whose tables and
    one thread last for the whole file: ``frame.reformat`` makes them anew for each frame, at
    twice the cost, and leaves a pool of threads a frame behind. Pixels are
    taken as square: a sample aspect ratio is not applied.
    """
    import av
    from av.error import FFmpegError
    from av.video.reformatter import VideoReformatter

    try:
        if path.stat().st_size == 0:
            raise BadVideo("the file is empty (0 bytes); copy it again")
        # An absolute name is never taken for a protocol, as ``12:30.mp4`` would be.
        container = av.open(
            str(path.absolute()), metadata_errors="replace", options={"protocol_whitelist": "file"}
        )
    except (FFmpegError, OSError, ValueError) as error:
        raise BadVideo(
            f"FFmpeg cannot open the file as a video: {_cause(error)}; is it whole?"
        ) from error
    with container:
        stream = _video_stream(container)
        stream.thread_type = "NONE"
        video = DecodedVideo(
            codec=stream.codec_context.name,
            tick_seconds=float(stream.time_base),
            account=FrameAccount(
                header_frames=stream.frames,
                header_discarded=sum(entry.is_discard for entry in stream.index_entries),
                duration_seconds=(container.duration or 0) / _MICROSECONDS,
                start_seconds=(container.start_time or 0) / _MICROSECONDS,
            ),
        )
        # AVI stores no times of presentation; what FFmpeg guesses for H.264 runs backwards.
        # Frames come out in order, a packet each, so the times of the packets fit.
        in_avi = container.format.name == "avi"
        start = None if in_avi else stream.start_time
        step = 1 / float(stream.average_rate or 25)
        errors: list[str] = []
        scaler = VideoReformatter()
        rate = FrameRate(fps_cap, step_seconds=step)
        for frame in _frames(container, stream, video.account, errors):
            index = video.account.came_out
            video.account.came_out += 1
            if frame.is_corrupt:
                video.account.corrupt += 1
                continue
            pts = frame.dts if in_avi else frame.pts
            if pts is not None:
                start = pts if start is None else start
                time = float((pts - start) * stream.time_base)
            else:  # raw streams carry no times, nor do the last frames of AVI
                time = video.source_times[-1] + step if video.source_times else 0.0
            if video.source_times and time <= video.source_times[-1]:
                video.account.stalled += 1
                continue
            video.source_times.append(time)
            if not rate.keeps(time):
                continue
            _store(video, frame, scaler, short_side=short_side, quality=quality)
            video.pts_seconds.append(time)
            video.source_frames.append(index)
        # Formats whose cut may leave no other trace.
        if container.format.name == "mpegts":
            video.account.cut_inside |= _ends_inside_a_ts_packet(path)
        elif "mp4" in container.format.name:
            video.account.cut_inside |= ends_inside_a_fragment(path)
    if not video.jpegs:
        account = video.account
        cause = errors[-1] if errors else f"{account.packets} packets, {account.corrupt} damaged"
        raise BadVideo(
            f"0 of {counted(account.expected, 'frame')} of the {video.codec} stream decoded "
            f"({cause}); copy the file again",
            frames_got=0,
            frames_expected=account.expected,
        )
    return video


def _video_stream(container: Any) -> Any:
    from av.stream import Disposition

    kinds = set(container.format.name.split(","))
    if kinds & _PLAYLISTS:
        raise BadVideo(
            f"the file is a playlist ({container.format.name}); give the videos it names"
        )
    for stream in container.streams.video:
        if stream.disposition & Disposition.attached_pic:
            continue  # the cover of an audio file
        if stream.codec_context is None:
            raise BadVideo(
                "FFmpeg knows no decoder for the video stream; convert it, e.g. to H.264"
            )
        return stream
    streams = ", ".join(sorted({stream.type for stream in container.streams})) or "none"
    raise BadVideo(f"the file has no video stream (its streams: {streams})")


def _frames(container: Any, stream: Any, account: FrameAccount, errors: list[str]) -> Iterator[Any]:
    """Every frame that decodes, in order of presentation; accounts for every packet."""
    from av.error import FFmpegError

    packets = container.demux()
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError as error:  # the container breaks off here
            errors.append(_cause(error))
            packet = None
        if packet is None:
            break
        if packet.size and packet.pts is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            account.end_seconds = max(account.end_seconds, end)
        if packet.stream.index != stream.index or not packet.size:
            continue
        account.packets += 1
        account.discarded += packet.is_discard
        account.cut_inside = packet.is_corrupt
        account.hidden += is_hidden(stream.codec_context.name, memoryview(packet))
        try:
            yield from packet.decode()
        except FFmpegError as error:
            errors.append(_cause(error))
    try:
        yield from stream.codec_context.decode(None)  # what the decoder holds back
    except FFmpegError as error:
        errors.append(_cause(error))


def _ends_inside_a_ts_packet(path: Path) -> bool:
    with path.open("rb") as file:
        size = ts_packet_bytes(file.read(2048))
        return size > 0 and file.seek(0, os.SEEK_END) % size > 0


def _store(video: DecodedVideo, frame: Any, scaler: Any, *, short_side: int, quality: int) -> None:
    matrix = _display_matrix(frame)
    sideways = bool(matrix[0, 0] == 0)
    if not video.jpegs:
        # The size is that of the first frame; a stream that changes it is scaled to it.
        size = stored_size(frame.height, frame.width, short_side=short_side)
        video.source_size = frame.height, frame.width
        video.size = size[::-1] if sideways else size
        video.rotation_degrees = -int(frame.rotation) % 360
    height, width = video.size[::-1] if sideways else video.size
    scaled = scaler.reformat(frame, width=width, height=height, format="rgb24", threads=1)
    image = scaled.to_ndarray()
    video.jpegs.append(encode_jpeg(upright(image, matrix), quality=quality))


def _display_matrix(frame: Any) -> NDArray[np.int64]:
    for side in frame.side_data:
        if side.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.frombuffer(side, np.int32)[:5]
            if abs(b) > abs(a):
                return np.sign([[0, b], [c, 0]], dtype=np.int64)
            return np.sign([[a, 0], [0, d]], dtype=np.int64)
    return np.eye(2, dtype=np.int64)


def upright(image_HWC: NDArray[np.uint8], matrix: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Turn and mirror an image as the display matrix of its container says.

    Parameters
    ----------
    image_HWC : ndarray of shape (H, W, 3), uint8
    matrix : ndarray of shape (2, 2)
        A signed permutation: pixel (x, y) is shown at ``(x, y) @ matrix``, up to a shift.

    Returns
    -------
    ndarray of shape (H, W, 3) or (W, H, 3), uint8, C-contiguous

    References
    ----------
    ISO/IEC 14496-12, 8.3.2 (track header box); FFmpeg ``libavutil/display.h``.
    """
    if matrix[0, 0] == 0:
        image_HWC = image_HWC.swapaxes(0, 1)
    signs = matrix.sum(axis=0)  # of the shown x and y
    return np.ascontiguousarray(image_HWC[:: int(signs[1]), :: int(signs[0])])


def _cause(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
