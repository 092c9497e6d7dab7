"""A report: one self-contained HTML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from storage_schemas.noun import FolderNoun

REPORT_NAME = "report.html"


@dataclass(frozen=True, repr=False)
class ReportFile(FolderNoun):
    """The text of ``report.html``; pictures are in it as data URIs."""

    name: ClassVar[str] = "report"
    version: ClassVar[int] = 1

    html: str

    def write(self, folder: Path) -> None:
        """Write ``report.html`` into `folder`."""
        (folder / REPORT_NAME).write_text(self.html, encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> Self:
        return cls((folder / REPORT_NAME).read_text(encoding="utf-8"))
