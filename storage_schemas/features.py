"""Features of videos from a frozen encoder: what retrieval and probes share.

One HDF5 file, ``features.h5``: a group an encoder (``pretrained``, ``random``), in it a
dataset a pooling, of shape (V, D), float32; row *i* belongs to ``video_ids[i]``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import SchemaError
from storage_schemas.noun import FolderNoun
from storage_schemas.tables import check_version


@dataclass(frozen=True, repr=False)
class Features(FolderNoun):
    """Video vectors.

    Parameters
    ----------
    video_ids : sequence of str
    vectors : mapping of encoder name -> pooling name -> ndarray of shape (V, D), float32
        Each vector is the mean over the clips of a video.
    """

    name: ClassVar[str] = "features"
    version: ClassVar[int] = 1

    video_ids: Sequence[str]
    vectors: Mapping[str, Mapping[str, NDArray[np.float32]]]

    def __post_init__(self) -> None:
        for encoder, poolings in self.vectors.items():
            for pooling, matrix_VD in poolings.items():
                if matrix_VD.ndim != 2 or len(matrix_VD) != len(self.video_ids):
                    raise SchemaError(
                        f"{encoder}/{pooling}: shape {matrix_VD.shape} for "
                        f"{len(self.video_ids)} videos"
                    )
                if not np.isfinite(matrix_VD).all():
                    raise SchemaError(f"{encoder}/{pooling}: features are not finite")

    def __repr__(self) -> str:
        return f"Features({len(self.video_ids)} videos, encoders {list(self.vectors)})"

    def write(self, folder: Path) -> None:
        """Write ``features.h5`` into `folder`."""
        path = folder / "features.h5"
        with h5py.File(path, "w") as file:
            file.attrs["tubelet.noun"] = self.name
            file.attrs["tubelet.version"] = self.version
            file.create_dataset(
                "video_ids", data=list(self.video_ids), dtype=h5py.string_dtype("utf-8")
            )
            for encoder, poolings in self.vectors.items():
                for pooling, matrix_VD in poolings.items():
                    file[f"vectors/{encoder}/{pooling}"] = matrix_VD.astype(np.float32)
        with path.open("rb") as written:
            os.fsync(written.fileno())

    @classmethod
    def open(cls, folder: Path) -> Self:
        path = folder / "features.h5"
        with h5py.File(path, "r") as file:
            check_version(
                cls.name, int(file.attrs["tubelet.version"]), cls.version, where=str(path)
            )
            return cls(
                video_ids=list(file["video_ids"].asstr()[:]),
                vectors={
                    encoder: {pooling: data[:] for pooling, data in group.items()}
                    for encoder, group in file["vectors"].items()
                },
            )
