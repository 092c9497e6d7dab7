"""A parameter that is a file: its content is in the key, its place is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializationInfo, model_serializer, model_validator

from pipeline.store import file_sha256


class InputFile(BaseModel):
    """A file given by its path; the digest is taken when the parameter is set.

    On the command line: ``--set detect.detector.boxes=FILE``. Where a digest is given too,
    as a run hands it to its child processes, the file must still have it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    sha256: str

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, str | Path):
            value = {"path": value}
        if not isinstance(value, dict) or "path" not in value:
            return value
        path = Path(value["path"]).expanduser().absolute()
        if not path.is_file():
            raise ValueError(f"{path} is no file; give the path of one")
        found = file_sha256(path)
        planned = value.get("sha256", found)
        if found != planned:
            raise ValueError(
                f"{path} has SHA-256 {found[:12]}..., not {planned[:12]}...: it changed since "
                "the run was planned; run again"
            )
        return {**value, "path": path, "sha256": found}

    @model_serializer
    def _dump(self, info: SerializationInfo) -> dict[str, str]:
        if info.context and info.context.get("for_key"):
            return {"sha256": self.sha256}
        return {"path": str(self.path), "sha256": self.sha256}
