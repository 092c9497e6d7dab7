"""A bank of synthetic patch trajectories (CtP), independent of any video.

One HDF5 file, ``trajectories.h5``. *N* entries, *K* patches, *T* frames, in a square crop
of ``size`` pixels. Boxes are integers, ``xyxy``, half-open.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import SchemaError
from storage_schemas.noun import FolderNoun
from storage_schemas.tables import check_version

SHAPES = ("rectangle", "ellipse", "rhombus")


@dataclass(frozen=True, repr=False)
class Trajectories(FolderNoun):
    """Everything that pasting needs besides the pixels.

    Parameters
    ----------
    size : int
        Side of the square crop in pixels.
    boxes_NKT4 : ndarray of shape (N, K, T, 4), int16
        Ground truth for every frame, visible or not.
    visible_NKT : ndarray of shape (N, K, T), bool
        Where the patch is pasted. True in frame 0 and in the patch's own frame.
    opacity_NKT : ndarray of shape (N, K, T), float32
        Alpha over time, in [0, 1].
    source_frame_NK : ndarray of shape (N, K), int16
        Clip frame that the patch is cut from, in 0..T-1.
    shape_NK : ndarray of shape (N, K), uint8
        Index into `SHAPES`.
    edge_NK : ndarray of shape (N, K), float32
        Start ``t`` of the soft edge in (0, 0.5); 0 for a hard edge.
    """

    name: ClassVar[str] = "trajectories"
    version: ClassVar[int] = 1

    size: int
    boxes_NKT4: NDArray[np.int16]
    visible_NKT: NDArray[np.bool_]
    opacity_NKT: NDArray[np.float32]
    source_frame_NK: NDArray[np.int16]
    shape_NK: NDArray[np.uint8]
    edge_NK: NDArray[np.float32]

    def __post_init__(self) -> None:
        n, k, t, _ = self.boxes_NKT4.shape
        expected = {
            "boxes_NKT4": (n, k, t, 4),
            "visible_NKT": (n, k, t),
            "opacity_NKT": (n, k, t),
            "source_frame_NK": (n, k),
            "shape_NK": (n, k),
            "edge_NK": (n, k),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise SchemaError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        x1, y1, x2, y2 = np.moveaxis(self.boxes_NKT4, -1, 0)
        if n and not bool(
            np.all((x1 >= 0) & (y1 >= 0) & (x1 < x2) & (y1 < y2))
            and x2.max() <= self.size
            and y2.max() <= self.size
        ):
            raise SchemaError(f"trajectory boxes must be non-empty and inside 0..{self.size}")

    def __len__(self) -> int:
        return int(self.boxes_NKT4.shape[0])

    def __repr__(self) -> str:
        n, k, t, _ = self.boxes_NKT4.shape
        return f"Trajectories(N={n}, K={k}, T={t}, size={self.size})"

    @property
    def num_frames(self) -> int:
        """Frames of a clip, T."""
        return int(self.boxes_NKT4.shape[2])

    def write(self, folder: Path) -> None:
        """Write ``trajectories.h5`` into `folder`."""
        path = folder / "trajectories.h5"
        with h5py.File(path, "w") as file:
            file.attrs["tubelet.noun"] = self.name
            file.attrs["tubelet.version"] = self.version
            file.attrs["size_pixels"] = self.size
            for field in fields(self):
                if field.name != "size":
                    file[field.name] = getattr(self, field.name)
        with path.open("rb") as written:
            os.fsync(written.fileno())

    @classmethod
    def open(cls, folder: Path) -> Self:
        path = folder / "trajectories.h5"
        with h5py.File(path, "r") as file:
            check_version(
                cls.name, int(file.attrs["tubelet.version"]), cls.version, where=str(path)
            )
            arrays = {f.name: file[f.name][:] for f in fields(cls) if f.name != "size"}
            return cls(size=int(file.attrs["size_pixels"]), **arrays)
