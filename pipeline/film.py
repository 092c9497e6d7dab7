"""Annotated videos: every stored frame with its marks, at its own time, as MP4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.ink import INK, WHITE, Image, write
from pipeline.marks import draw_marks, text_size
from pipeline.pictures import stack
from pipeline.sheet import time_line
from storage_schemas.errors import MissingDependency
from storage_schemas.frames import Frames

if TYPE_CHECKING:
    from pipeline.stage import VideoStage

# In order of preference, with what makes a small file of thin lines that stay sharp.
_CODECS: dict[str, dict[str, object]] = {
    "libx264": {"crf": "18", "preset": "veryfast"},
    "libopenh264": {"b": "8000000"},
    "mpeg4": {"qscale": "3"},
}
_TICKS = 60_000  # a second: exact for the usual frame rates, and within MPEG-4's 16 bits
_SIDES = 360, 1280  # short side that small frames are enlarged to; long side they stay within


def annotate(stage: VideoStage, output: Any, frames: Frames) -> Iterator[Image]:
    """Every frame with its marks, a line that tells its time, and the time line.

    Between two frames that a strided stage looked at, the marks of the earlier one stay,
    and the line says of which frame they are: marks that flash up in every eighth frame
    could not be read.
    """
    scale = enlargement(frames.height, frames.width)
    asked, marks = 0, stage.marks(0, output, frames)
    line = time_line(stage, output, frames.width * scale)
    for t, seconds in enumerate(frames.pts_seconds):
        frame = stage.marked_frame(t)
        if frame != asked:
            asked, marks = frame, stage.marks(frame, output, frames)
        picture = draw_marks(frames.decode([t])[0], marks, scale=scale)
        text = f"frame {t}   {seconds:.2f} s"
        if marks and frame != t:
            text += f"   marks of frame {frame}"
        parts = [picture, text_line(text, picture)]
        if line is not None:
            parts.append(line.at([t]))
        yield stack(parts, gap=0)


def enlargement(height: int, width: int) -> int:
    """Whole factor by which frames are enlarged, so that text in them can be read."""
    return max(1, min(-(-_SIDES[0] // min(height, width)), _SIDES[1] // max(height, width)))


def text_line(text: str, picture: Image) -> Image:
    """A line of text as wide as a picture, in a size that suits it."""
    size = text_size(*picture.shape[:2])
    band = np.full((size + 8, picture.shape[1], 3), INK, np.uint8)
    write(band, text, (4, size + 1), WHITE, size=size)
    return band


def write_film(
    path: Path, images: Iterable[Image], pts_seconds: NDArray[np.float64], *, comment: str
) -> None:
    """Write an MP4 whose frames have the given times.

    Parameters
    ----------
    path : Path
    images : iterable of ndarray of shape (H, W, 3), uint8
        All of one size; an odd side is extended by a row or column of its last pixels.
    pts_seconds : ndarray of shape (T,), float64
        Strictly increasing, not negative; the last frame lasts as long as the one before.
    comment : str
        Is kept in the file's metadata.

    Raises
    ------
    MissingDependency
        If this FFmpeg has none of the encoders.
    """
    import av
    from av.video.reformatter import VideoReformatter

    codec = next((name for name in _CODECS if name in av.codecs_available), None)
    if codec is None:
        raise MissingDependency(
            f"PyAV's FFmpeg has no encoder of {', '.join(_CODECS)}; install the wheel of the "
            "package index: pip install --force-reinstall --only-binary av av"
        )
    ticks = np.round(np.asarray(pts_seconds) * _TICKS).astype(np.int64)
    lasting = np.diff(ticks, append=2 * ticks[-1] - ticks[-2] if len(ticks) > 1 else _TICKS)
    durations = dict(zip(ticks.tolist(), lasting.tolist(), strict=True))
    time_base, stream = Fraction(1, _TICKS), None
    scaler = VideoReformatter()
    name, options = str(path.absolute()), {"movflags": "faststart"}  # no name is a protocol
    with av.open(name, "w", format="mp4", options=options) as container:
        container.metadata["comment"] = comment

        def mux(frame: Any) -> None:
            assert stream is not None
            for packet in stream.encode(frame):
                packet.duration = durations.get(packet.pts, 0)
                container.mux(packet)

        for image, tick in zip(images, ticks.tolist(), strict=True):
            height, width = (side + side % 2 for side in image.shape[:2])
            if stream is None:
                stream = container.add_stream(codec, rate=_average_rate(ticks))
                assert isinstance(stream, av.VideoStream)
                stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
                stream.options = _CODECS[codec]
                stream.codec_context.time_base = time_base
            even = np.pad(
                image, [(0, height - len(image)), (0, width - image.shape[1]), (0, 0)], "edge"
            )
            rgb = av.VideoFrame.from_ndarray(even, format="rgb24")
            frame = scaler.reformat(rgb, format="yuv420p", threads=1)
            frame.pts, frame.time_base = tick, time_base
            mux(frame)
        mux(None)


def _average_rate(ticks: NDArray[np.int64]) -> Fraction:
    """Frames a second; only a hint for the encoder's rate control."""
    if len(ticks) < 2:
        return Fraction(25)
    seconds = Fraction(int(ticks[-1] - ticks[0]), _TICKS)
    return Fraction((len(ticks) - 1) / seconds).limit_denominator(1001)
