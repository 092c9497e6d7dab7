"""What the process that trains is told, as a JSON file; free of torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrainSpec:
    """Everything a training needs: see `Pretrain` for the meaning.

    Parameters
    ----------
    method, encoder, optimisation, knn : dict
        Parameters of `Method`, `EncoderSpec`, `Optimisation` and `OnlineKnn`.
    seed : int
    shards : list of str
        Artifact folders.
    annotations : dict of role -> list of str
        Artifact folders of what the method needs besides frames.
    folder : str
        Where checkpoint, log and encoder go.
    initial : str, optional
        Folder of an encoder artifact to start from; without, weights are drawn at random.
    snapshot_every : int
        Epochs between two copies of the objective's state, `snapshots`; the last epoch is
        kept, too. 0 keeps none.
    videos : list of str, optional
        Train on these only.
    labels : dict of video id -> class, optional
        What the online accuracy is measured with; the method never sees them.
    device : str
        ``auto`` is CUDA where there is one.
    threads : int
    loader_workers : int or None
        Processes that make views, for each device; None chooses by the device.
    checkpoint_seconds : float
        Least time between two checkpoints.
    """

    method: dict[str, Any]
    encoder: dict[str, Any]
    optimisation: dict[str, Any]
    seed: int
    shards: list[str]
    annotations: dict[str, list[str]]
    folder: str
    initial: str | None = None
    snapshot_every: int = 0
    videos: list[str] | None = None
    labels: dict[str, str] | None = None
    knn: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    threads: int = 1
    loader_workers: int | None = None
    checkpoint_seconds: float = 30.0

    def snapshots(self) -> dict[int, Path]:
        """Where the state after an epoch is kept, by epoch."""
        if not self.snapshot_every:
            return {}
        epochs = self.optimisation["epochs"]
        kept = {*range(self.snapshot_every, epochs + 1, self.snapshot_every), epochs}
        return {epoch: Path(self.folder) / f"epoch-{epoch}.pt" for epoch in sorted(kept)}

    def write(self, path: Path) -> None:
        """Write the spec file."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> TrainSpec:
        """Inverse of `write`."""
        return cls(**json.loads(path.read_text()))


def too_large(spec: TrainSpec) -> str:
    """What to say where memory ran out."""
    optimisation = spec.optimisation
    return (
        f"memory ran out with optimisation.batch_size {optimisation.get('batch_size')} in "
        f"{optimisation.get('accumulate', 1)} piece(s): raise optimisation.accumulate, lower the "
        f"batch size, or lower encoder.width ({spec.encoder.get('width')}) or method.size "
        f"({spec.method.get('size')})"
    )
