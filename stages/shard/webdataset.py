"""Shards as WebDataset tars: one sample a video, for trainers that are not ours.

A sample is ``KEY.000000.jpg``, ``KEY.000001.jpg`` … or one ``KEY.mp4``, and ``KEY.json``;
with labels ``KEY.cls`` as well. The same videos give the same bytes.

References
----------
https://github.com/webdataset/webdataset: files of one key stand together; what follows the
first dot of a file's name is the field.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import av
import numpy as np

from storage_schemas.boxes import Boxes
from storage_schemas.errors import ParameterError
from storage_schemas.frames import Frames

_TICKS = 90_000  # a second
_BLOCK, _RECORD = 512, 10_240  # bytes; of a file in a tar, and of the tar as a whole
_LONGEST_KEY = 80

Sample = tuple[str, Mapping[str, bytes]]


def sample_key(video_id: str) -> str:
    """Name of a video's files: readable, without dots, different for each video.

    Names are plain ASCII, so that every reader of tars agrees on them.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", video_id.rpartition(".")[0] or video_id)
    return f"{plain[:_LONGEST_KEY]}-{sha256(video_id.encode()).hexdigest()[:8]}"


def as_jpegs(frames: Frames) -> dict[str, bytes]:
    """The stored images, untouched, one field a frame."""
    return {f"{t:06d}.jpg": bytes(jpeg) for t, jpeg in enumerate(frames.jpegs)}


def as_movie(frames: Frames) -> dict[str, bytes]:
    """The stored images, untouched, in one MP4 (Motion JPEG) with their times."""
    ticks = np.round((frames.pts_seconds - frames.pts_seconds[0]) * _TICKS).astype(np.int64)
    last = 2 * ticks[-1] - ticks[-2] if len(ticks) > 1 else _TICKS
    lasting = np.diff(ticks, append=last)
    file = io.BytesIO()
    # Without bitexact the file would name the library's version and differ with it.
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = frames.height, frames.width, "yuvj420p"
        stream.time_base = Fraction(1, _TICKS)
        for jpeg, tick, duration in zip(frames.jpegs, ticks, lasting, strict=True):
            packet = av.Packet(bytes(jpeg))
            packet.stream, packet.time_base = stream, Fraction(1, _TICKS)
            packet.pts = packet.dts = int(tick)
            packet.duration, packet.is_keyframe = int(duration), True
            container.mux(packet)
    return {"mp4": file.getvalue()}


def describe_sample(
    frames: Frames, *, boxes: Mapping[str, Boxes] | None = None, label: Mapping[str, Any]
) -> bytes:
    """The field ``json``.

    Parameters
    ----------
    frames : Frames
    boxes : mapping of step name -> Boxes, optional
        As columns; ``xyxy`` in pixels of a frame of the ``height`` and ``width`` beside it.
    label : mapping
        Added as it is.
    """
    content = {
        "video_id": frames.video_id,
        "num_frames": len(frames),
        "height": frames.height,
        "width": frames.width,
        "pts_seconds": frames.pts_seconds.tolist(),
        "source_frame": frames.source_frames.tolist(),
        "boxes": {name: _columns(one) for name, one in (boxes or {}).items()},
        **label,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def _columns(boxes: Boxes) -> dict[str, Any]:
    columns: dict[str, Any] = {"height": boxes.height, "width": boxes.width}
    for name in ("frame", "xyxy", "score", "track", "region"):
        values = getattr(boxes, name)
        if values is not None:
            columns[name] = values.tolist()
    if boxes.label is not None:
        columns["label"] = list(boxes.label)
    if boxes.mask_runs is not None:
        columns["mask_runs"] = [runs.tolist() for runs in boxes.mask_runs]
    return columns


def write_tars(samples: Iterable[Sample], to: Path, *, max_bytes: int) -> list[Path]:
    """Write samples in their order; gives the files.

    Parameters
    ----------
    samples : iterable of (key, field -> bytes)
    to : Path
        ``NAME.tar`` for one file, else a folder for ``000000.tar``, ``000001.tar`` …
    max_bytes : int
        Most bytes of a tar. A sample that is larger has a tar of its own.

    Raises
    ------
    ParameterError
        If something is there already, or one file would be larger than `max_bytes`.
    """
    single = to.suffix == ".tar"
    if to.exists() if single else any(to.glob("*.tar")):
        raise ParameterError(f"{to} exists already; give another {'file' if single else 'folder'}")
    folder = to.parent if single else to
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    waiting = iter(samples)
    sample = next(waiting, None)
    while sample is not None:
        path = to if single else folder / f"{len(written):06d}.tar"
        with _writing(path) as tar:
            used = 0
            while sample is not None:
                size = sum(_BLOCK + _up(len(data), _BLOCK) for data in sample[1].values())
                if used and _up(used + size + 2 * _BLOCK, _RECORD) > max_bytes:
                    break
                _add(tar, sample)
                used += size
                sample = next(waiting, None)
            if single and sample is not None:
                raise ParameterError(
                    f"{to} would be larger than max_bytes {max_bytes}; give a folder in its "
                    "place, or a larger --max-bytes"
                )
        written.append(path)
    return written


@contextmanager
def _writing(path: Path) -> Iterator[tarfile.TarFile]:
    """A tar that is there under its name only when it is whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            yield tar
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, sample: Sample) -> None:
    key, fields = sample
    for name, data in fields.items():
        entry = tarfile.TarInfo(f"{key}.{name}")  # no owner, and a time of 0
        entry.size, entry.mode = len(data), 0o644
        tar.addfile(entry, io.BytesIO(data))


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit
