"""A trained encoder: weights, the parameters that rebuild it, and its training log.

``encoder.pt`` is a state dict that loads with ``weights_only=True``; nothing is unpickled.
This file knows the layout only, so that it needs no torch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from storage_schemas.errors import SchemaError
from storage_schemas.noun import FolderNoun
from storage_schemas.tables import check_version


@dataclass(frozen=True)
class EncoderFiles(FolderNoun):
    """The files of one encoder artifact.

    Parameters
    ----------
    folder : Path
    parameters : mapping
        What the encoder is built from, as `stages.learning.encoders` takes it.
    mean, std : sequence of float
        Of RGB in 0..1: what its input was standardised with while it was trained.
    origin : {"pretrained", "random"}
        Whether anything was learned.
    method : mapping
        What it was trained by, as `Method.choose` takes it; empty where it was given. The
        weights then have the form that the method trains in.
    """

    name: ClassVar[str] = "encoder"
    version: ClassVar[int] = 2  # 2: mean and std of the input
    files: ClassVar[tuple[str, ...]] = (
        "encoder.pt", "heads.pt", "encoder.json", "log.jsonl", "views.png",
    )  # fmt: skip

    folder: Path
    parameters: Mapping[str, Any]
    mean: Sequence[float]
    std: Sequence[float]
    origin: str = "pretrained"
    method: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weights(self) -> Path:
        """State dict of the encoder alone (no heads, queue or momentum copy)."""
        return self.folder / "encoder.pt"

    @property
    def heads(self) -> Path:
        """State dict of the heads that were trained; see `stages.learning.objective`."""
        return self.folder / "heads.pt"

    @property
    def log(self) -> Path:
        """JSON lines, one a logged step: ``step``, ``epoch``, ``loss`` and more."""
        return self.folder / "log.jsonl"

    @classmethod
    def describe(
        cls,
        folder: Path,
        parameters: Mapping[str, Any],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        origin: str = "pretrained",
        method: Mapping[str, Any] | None = None,
    ) -> None:
        """Write ``encoder.json``, what the encoder is rebuilt and fed from."""
        content = {
            "version": EncoderFiles.version,
            "parameters": dict(parameters),
            "mean": list(mean),
            "std": list(std),
            "origin": origin,
            "method": dict(method or {}),
        }
        (folder / "encoder.json").write_text(json.dumps(content, indent=1, sort_keys=True))

    def write(self, folder: Path) -> None:
        """Copy weights, parameters, log and TensorBoard events into `folder`.

        Copied, not moved: a kill before the commit must find the training as it was.
        """
        for name in self.files:
            if (self.folder / name).exists():
                shutil.copy2(self.folder / name, folder / name)
        if (self.folder / "tensorboard").is_dir():
            shutil.copytree(self.folder / "tensorboard", folder / "tensorboard")

    @classmethod
    def open(cls, folder: Path) -> Self:
        path = folder / "encoder.json"
        if not path.exists():
            raise SchemaError(f"{path} is missing: not an encoder artifact")
        content = json.loads(path.read_text())
        check_version(cls.name, content["version"], cls.version, where=str(path))
        return cls(
            folder=folder,
            parameters=content["parameters"],
            mean=content["mean"],
            std=content["std"],
            origin=content.get("origin", "pretrained"),
            method=content.get("method", {}),
        )
