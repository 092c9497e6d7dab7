"""A bank of synthetic patch trajectories (CtP), independent of any video.

One HDF5 file, ``trajectories.h5``. *N* entries, *K* patches, *T* frames, in a square crop
of ``size`` pixels. Boxes are integers, ``xyxy``, half-open. Each dataset is one contiguous
span of the file, so a reader maps it: opening costs nothing, and the workers of a loader
share the pages that they touch.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from dataclasses import InitVar, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import SchemaError
from storage_schemas.noun import FolderNoun
from storage_schemas.tables import check_version

SHAPES = ("rectangle", "ellipse", "rhombus")
H5_NAME = "trajectories.h5"


@dataclass(frozen=True)
class Patches:
    """One entry of a bank: the patches of one clip. Arrays as in `Trajectories`."""

    size: int
    boxes_KT4: NDArray[np.int16]
    visible_KT: NDArray[np.bool_]
    opacity_KT: NDArray[np.float32]
    source_frame_K: NDArray[np.int16]
    shape_K: NDArray[np.uint8]
    edge_K: NDArray[np.float32]


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
    folder : Path, optional
        Where the arrays are mapped from. The values of mapped arrays are checked entry by
        entry, when they are read, and pickling hands over the folder alone.

    Raises
    ------
    SchemaError
        If shapes do not agree or values are out of range.
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
    folder: InitVar[Path | None] = None

    def __post_init__(self, folder: Path | None) -> None:
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
        object.__setattr__(self, "_folder", folder)
        if folder is None:
            self._check_values(slice(None))

    def _check_values(self, entries: slice) -> None:
        boxes = self.boxes_NKT4[entries]
        if boxes.size and not bool(
            boxes.min() >= 0
            and boxes.max() <= self.size
            and (boxes[..., :2] < boxes[..., 2:]).all()
        ):
            raise SchemaError(f"trajectory boxes must be non-empty and inside 0..{self.size}")
        limits = {
            "source_frame_NK": self.num_frames - 1,
            "shape_NK": len(SHAPES) - 1,
            "opacity_NKT": 1,
        }
        for name, limit in limits.items():
            values = getattr(self, name)[entries]
            if values.size and not 0 <= values.min() <= values.max() <= limit:
                raise SchemaError(
                    f"{name} has values in {values.min()}..{values.max()}, not in 0..{limit}"
                )

    def __len__(self) -> int:
        return int(self.boxes_NKT4.shape[0])

    def __getitem__(self, entry: int) -> Patches:
        entry = range(len(self))[entry]
        self._check_values(slice(entry, entry + 1))
        return Patches(
            size=self.size,
            boxes_KT4=self.boxes_NKT4[entry],
            visible_KT=self.visible_NKT[entry],
            opacity_KT=self.opacity_NKT[entry],
            source_frame_K=self.source_frame_NK[entry],
            shape_K=self.shape_NK[entry],
            edge_K=self.edge_NK[entry],
        )

    def __repr__(self) -> str:
        n, k, t, _ = self.boxes_NKT4.shape
        return f"Trajectories(N={n}, K={k}, T={t}, size={self.size})"

    def __reduce__(self) -> Any:
        if self.mapped_folder is not None:
            return type(self).open, (self.mapped_folder,)
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    @property
    def mapped_folder(self) -> Path | None:
        """Folder that the arrays are mapped from; None if they lie in memory."""
        folder: Path | None = self.__dict__["_folder"]
        return folder

    @property
    def num_frames(self) -> int:
        """Frames of a clip, T."""
        return int(self.boxes_NKT4.shape[2])

    def write(self, folder: Path) -> None:
        """Write ``trajectories.h5`` into `folder`."""
        self.write_blocks(folder, [self], count=len(self))

    @classmethod
    def write_blocks(cls, folder: Path, blocks: Iterable[Self], *, count: int) -> None:
        """Write a bank that need not fit into memory.

        Parameters
        ----------
        folder : Path
        blocks : iterable of Trajectories
            At least one; read one at a time. What is beyond `count` entries is left out.
        count : int
            Entries of the bank.
        """
        temporary = folder / f"{H5_NAME}.tmp"
        with h5py.File(temporary, "w") as file:
            file.attrs["tubelet.noun"] = cls.name
            file.attrs["tubelet.version"] = cls.version
            start = 0
            for block in blocks:
                file.attrs["size_pixels"] = block.size
                for name in _ARRAYS:
                    values = getattr(block, name)[: count - start]
                    if name not in file:
                        file.create_dataset(name, (count, *values.shape[1:]), values.dtype)
                    file[name][start : start + len(values)] = values
                start += len(block)
            if start < count:
                raise SchemaError(f"a bank of {count} trajectories was given {start}")
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # A new file: writing into the old one would pull it away under whoever has it mapped.
        os.replace(temporary, folder / H5_NAME)

    @classmethod
    def open(cls, folder: Path) -> Self:
        path = folder / H5_NAME
        # An artifact never changes, and some network file systems cannot lock.
        with h5py.File(path, "r", locking=False) as file, path.open("rb") as mapped:
            check_version(
                cls.name, int(file.attrs["tubelet.version"]), cls.version, where=str(path)
            )
            mapping = mmap.mmap(mapped.fileno(), 0, access=mmap.ACCESS_READ)
            return cls(
                size=int(file.attrs["size_pixels"]),
                **{name: _map(file[name], mapping) for name in _ARRAYS},
                folder=folder.absolute(),
            )


_ARRAYS = tuple(field.name for field in fields(Trajectories) if field.name != "size")


def _map(dataset: h5py.Dataset, mapping: mmap.mmap) -> NDArray[Any]:
    """A contiguous dataset as a read-only array on the mapped file."""
    offset = dataset.id.get_offset()
    if offset is None:  # empty, or written in chunks by another program
        return np.asarray(dataset[:])
    flat = np.frombuffer(mapping, dataset.dtype, count=dataset.size, offset=offset)
    return flat.reshape(dataset.shape)
