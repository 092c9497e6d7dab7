"""Features of videos from a frozen encoder: what retrieval, kNN and probes share.

Plain ``.npy`` matrices, mapped into memory when they are read: ``<encoder>.<pooling>.npy`` of
shape (V, D), float32, and ``<encoder>.clips.npy`` of shape (V, N, D), the averages of each
view by itself. Row *i* belongs to ``video_ids[i]`` of ``features.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import SchemaError
from storage_schemas.noun import FolderNoun
from storage_schemas.tables import check_version

INDEX = "features.json"
CLIPS = "clips"
CHECKPOINT_SECONDS = 30.0


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

    Rows that were finished before a kill are found again.

    Parameters
    ----------
    folder : Path
        Work folder; `Features.write` then links the files into the artifact.
    video_ids : sequence of str
        Row by row.
    identity : str
        Of all that the features come from: what was left by other work is not taken up.
    checkpoint_seconds : float
        Least time between two moments that a kill falls back to.
    """

    def __init__(
        self,
        folder: Path,
        video_ids: Sequence[str],
        *,
        identity: str = "",
        checkpoint_seconds: float | None = None,
    ) -> None:
        self._folder, self._video_ids = folder, list(video_ids)
        self._open: dict[str, NDArray[np.float32]] = {}
        self._lock = threading.Lock()
        self._every = CHECKPOINT_SECONDS if checkpoint_seconds is None else checkpoint_seconds
        self._saved = time.monotonic()
        what = hashlib.sha256(json.dumps([identity, self._video_ids]).encode()).hexdigest()
        self._record = folder / f"finished-{what[:16]}.npy"
        self._finished_V = self._resumed()

    def _resumed(self) -> NDArray[np.bool_]:
        """Which rows are there; opens their matrices, and removes what other work has left."""
        for record in self._folder.glob("finished-*.npy"):
            if record != self._record:
                record.unlink()
        if not self._record.exists():
            for path in self._folder.glob("*.*.npy"):
                path.unlink()  # to cut a file short would break who maps it
            return np.zeros(len(self._video_ids), np.bool_)
        for path in self._folder.glob("*.*.npy"):
            self._open[path.name.removesuffix(".npy")] = np.load(path, mmap_mode="r+")
        return np.load(self._record)

    @property
    def finished(self) -> set[int]:
        """Rows that need not be put again."""
        return set(np.flatnonzero(self._finished_V).tolist())

    def put(self, row: int, values: Mapping[tuple[str, str], NDArray[np.float32]]) -> None:
        """Finish the row of one video.

        Parameters
        ----------
        row : int
        values : mapping of (encoder, pooling) -> ndarray
            Of shape (D,), or (N, D) for the pooling ``clips``.
        """
        for (encoder, pooling), one in values.items():
            if not np.isfinite(one).all():
                raise SchemaError(
                    f"{encoder}/{pooling}: features are not finite; is the encoder diverged?",
                    video_id=self._video_ids[row],
                )
            self._matrix(f"{encoder}.{pooling}", one.shape)[row] = one
        with self._lock:
            self._finished_V[row] = True
            if time.monotonic() - self._saved >= self._every:
                self._checkpoint()

    def _matrix(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        with self._lock:
            if name not in self._open:
                self._open[name] = np.lib.format.open_memmap(
                    self._folder / f"{name}.npy",
                    mode="w+",
                    dtype=np.float32,
                    shape=(len(self._video_ids), *shape),
                )
            return self._open[name]

    def _checkpoint(self) -> None:
        """Rows reach the disk before the record of them does."""
        for matrix in self._open.values():
            assert isinstance(matrix, np.memmap)
            matrix.flush()
        temporary = self._record.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.save(file, self._finished_V)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._record)
        self._saved = time.monotonic()

    def features(self) -> Features:
        """What was written."""
        with self._lock:
            self._checkpoint()
        vectors: dict[str, dict[str, NDArray[np.float32]]] = {}
        for name, matrix in self._open.items():
            encoder, pooling = name.split(".")
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
