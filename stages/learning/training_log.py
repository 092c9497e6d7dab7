"""The log of a training: JSON lines and TensorBoard, cut back to the checkpoint on resume."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

_NOT_CURVES = ("step", "of", "epoch")


class TrainingLog:
    """Context manager; a call writes one row.

    Parameters
    ----------
    folder : Path
        Holds ``log.jsonl`` and ``tensorboard``.
    first_step : int
        Rows after this step were written by a run that was killed; they are cut off.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        self._folder, self._first_step = folder, first_step

    def __enter__(self) -> Self:
        from torch.utils.tensorboard import SummaryWriter

        path = self._folder / "log.jsonl"
        if path.exists():
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(lines[: self._first_step]))
        purge = self._first_step + 1
        self._board = SummaryWriter(str(self._folder / "tensorboard"), purge_step=purge)
        self._file = path.open("a", buffering=1)
        return self

    def __call__(self, row: Mapping[str, float]) -> None:
        """Write the row of a step; its numbers become curves."""
        # JSON knows no infinity, such as the norm of a gradient that overflowed.
        finite = {k: v if math.isfinite(v) else None for k, v in row.items()}
        self._file.write(json.dumps(finite) + "\n")
        for name, value in finite.items():
            if name not in _NOT_CURVES and value is not None:
                self._board.add_scalar(name, value, row["step"])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._board.close()
