"""A classifier: an encoder, a linear layer on its averages, and how it was trained.

It is an encoder artifact with ``classifier.pt`` (``weight`` and ``bias``) and
``classifier.json`` instead of ``heads.pt``, so that all that reads an encoder reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import SchemaError
from storage_schemas.tables import check_version


@dataclass(frozen=True)
class ClassifierFiles(EncoderFiles):
    """The files of one classifier artifact.

    Parameters
    ----------
    classes : sequence of str
        The class that each output stands for. Several outputs may stand for one, and one whose
        name is empty for none: ImageNet's thousand classes as answers to nine.
    protocol, preset : str
        Name of the rules.
    epoch : int
        Whose weights these are.
    selection : {"last", "best_on_test"}
        How the epoch was chosen.
    test_accuracy : mapping of epoch -> float
        Top-1 of one clip a video, where the epoch was chosen by it.
    """

    name: ClassVar[str] = "classifier"
    version: ClassVar[int] = 1
    files: ClassVar[tuple[str, ...]] = (
        *(name for name in EncoderFiles.files if name != "heads.pt"),
        "classifier.pt",
        "classifier.json",
    )

    classes: Sequence[str] = ()
    protocol: str = ""
    preset: str = ""
    epoch: int = 0
    selection: str = "last"
    test_accuracy: Mapping[str, float] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Classes that it can answer, each once, in order (sorted)."""
        return sorted(set(self.classes) - {""})

    @property
    def head(self) -> Path:
        """State dict of the linear layer."""
        return self.folder / "classifier.pt"

    @classmethod
    def describe_classifier(cls, folder: Path, **facts: Any) -> None:
        """Write ``classifier.json``; `facts` are the parameters that an encoder has not."""
        content = {"version": cls.version, **facts}
        (folder / "classifier.json").write_text(json.dumps(content, indent=1, ensure_ascii=False))

    @classmethod
    def open(cls, folder: Path) -> Self:
        path = folder / "classifier.json"
        if not path.exists():
            raise SchemaError(f"{path} is missing: not a classifier artifact")
        facts = json.loads(path.read_text())
        check_version(cls.name, facts.pop("version"), cls.version, where=str(path))
        return cls(**(vars(EncoderFiles.open(folder)) | facts))
