"""A report is one file of UTF-8."""

from __future__ import annotations

from pathlib import Path

from storage_schemas.report import REPORT_NAME, ReportFile


def test_round_trip(tmp_path: Path) -> None:
    written = ReportFile("<!doctype html>\n<p>Größe · 3 → 4</p>\n")
    written.write(tmp_path)
    assert ReportFile.open(tmp_path) == written
    assert [path.name for path in tmp_path.iterdir()] == [REPORT_NAME]
    assert (tmp_path / REPORT_NAME).read_bytes().decode("utf-8") == written.html
