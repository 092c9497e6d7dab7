"""Features of videos from a frozen encoder: what retrieval, kNN and probes share.

Plain ``.npy`` matrices, mapped into memory when they are read: ``<encoder>.<pooling>.npy`` of
shape (V, D), float32, and ``<encoder>.clips.npy`` of shape (V, N, D), the averages of each
view by itself. Row *i* belongs to ``video_ids[i]`` of ``features.json``.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import SchemaError
from storage_schemas.noun import FolderNoun
from storage_schemas.tables import check_version

INDEX = "features.json"
CLIPS = "clips"


@dataclass(frozen=True, repr=False)
class Features(FolderNoun):
    """Vectors of videos.

    Parameters
    ----------
    video_ids : sequence of str
    vectors : mapping of encoder name -> pooling name -> ndarray of shape (V, D), float32
        Each vector is the mean over the views of a video.
    clip_vectors : mapping of encoder name -> ndarray of shape (V, N, D), float32
        The average-pooled vector of each view.
    """

    name: ClassVar[str] = "features"
    version: ClassVar[int] = 2  # 2: mapped matrices, vectors of clips

    video_ids: Sequence[str]
    vectors: Mapping[str, Mapping[str, NDArray[np.float32]]]
    clip_vectors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for (encoder, pooling), matrix in self._matrices().items():
            wanted = 3 if pooling == CLIPS else 2
            if matrix.ndim != wanted or len(matrix) != len(self.video_ids):
                raise SchemaError(
                    f"{encoder}/{pooling}: shape {matrix.shape} for {len(self.video_ids)} videos"
                )
            # What is mapped was looked at row by row when it was written.
            if not isinstance(matrix, np.memmap) and not np.isfinite(matrix).all():
                raise SchemaError(f"{encoder}/{pooling}: features are not finite")

    def _matrices(self) -> dict[tuple[str, str], NDArray[np.float32]]:
        return {
            **{
                (e, p): matrix
                for e, poolings in self.vectors.items()
                for p, matrix in poolings.items()
            },
            **{(e, CLIPS): matrix for e, matrix in self.clip_vectors.items()},
        }

    def __repr__(self) -> str:
        return f"Features({len(self.video_ids)} videos, encoders {list(self.vectors)})"

    def write(self, folder: Path) -> None:
        """Write the matrices into `folder`; those that are mapped already are linked."""
        names = []
        for (encoder, pooling), matrix in self._matrices().items():
            name = f"{encoder}.{pooling}.npy"
            names.append(name)
            _save(matrix, folder / name)
        content = {
            "version": self.version, "video_ids": list(self.video_ids), "matrices": names,
        }  # fmt: skip
        (folder / INDEX).write_text(json.dumps(content, ensure_ascii=False))

    @classmethod
    def open(cls, folder: Path) -> Self:
        path = folder / INDEX
        if not path.exists():
            raise SchemaError(f"{path} is missing: not a features artifact")
        content = json.loads(path.read_text())
        check_version(cls.name, content["version"], cls.version, where=str(path))
        vectors: dict[str, dict[str, NDArray[np.float32]]] = {}
        clip_vectors = {}
        for name in content["matrices"]:
            encoder, pooling, _ = name.split(".")
            matrix = np.load(folder / name, mmap_mode="r")
            if pooling == CLIPS:
                clip_vectors[encoder] = matrix
            else:
                vectors.setdefault(encoder, {})[pooling] = matrix
        return cls(content["video_ids"], vectors, clip_vectors)


class FeatureWriter:
    """Matrices that are filled row by row on disk, in any order, from several threads.

    Parameters
    ----------
    folder : Path
        Work folder; `Features.write` then links the files into the artifact.
    video_ids : sequence of str
        Row by row.
    """

    def __init__(self, folder: Path, video_ids: Sequence[str]) -> None:
        self._folder, self._video_ids = folder, list(video_ids)
        self._open: dict[str, Any] = {}
        self._lock = threading.Lock()

    def put(self, row: int, encoder: str, pooling: str, values: NDArray[np.float32]) -> None:
        """Set the row of one video, (D,), or (N, D) for the pooling ``clips``."""
        name = f"{encoder}.{pooling}"
        if not np.isfinite(values).all():
            raise SchemaError(
                f"{encoder}/{pooling}: features are not finite; is the encoder diverged?",
                video_id=self._video_ids[row],
            )
        with self._lock:
            if name not in self._open:
                path = self._folder / f"{name}.npy"
                path.unlink(missing_ok=True)  # to cut a file short would break who maps it
                self._open[name] = np.lib.format.open_memmap(
                    path,
                    mode="w+",
                    dtype=np.float32,
                    shape=(len(self._video_ids), *values.shape),
                )
        self._open[name][row] = values

    def features(self) -> Features:
        """What was written."""
        vectors: dict[str, dict[str, NDArray[np.float32]]] = {}
        for name, matrix in self._open.items():
            encoder, pooling = name.split(".")
            matrix.flush()
            vectors.setdefault(encoder, {})[pooling] = matrix
        clips = {e: poolings.pop(CLIPS) for e, poolings in vectors.items() if CLIPS in poolings}
        return Features(self._video_ids, vectors, clips)


def _save(matrix: NDArray[np.float32], path: Path) -> None:
    """Link a mapped file, copy it from another file system, or write the array."""
    path.unlink(missing_ok=True)
    if isinstance(matrix, np.memmap) and matrix.filename is not None:
        matrix.flush()
        try:
            os.link(matrix.filename, path)
        except OSError:
            shutil.copyfile(matrix.filename, path)
    else:
        np.save(path, matrix.astype(np.float32))
    with path.open("rb") as written:
        os.fsync(written.fileno())
