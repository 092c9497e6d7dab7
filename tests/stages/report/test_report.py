"""The report: complete, escaped, on its own, and readable on a telephone."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.report.report import Report, human_size, quarantine, render, results, sections
from storage_schemas.jpeg import encode_jpeg
from storage_schemas.manifest import (
    PREVIEW_NAME,
    ArtifactView,
    FileEntry,
    Manifest,
    QuarantineRow,
)
from storage_schemas.metrics import MetricRow, Metrics
from storage_schemas.videos import VideoFile

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--allow-file-access-from-files", "--window-size=800,900", "--virtual-time-budget=5000",
    "--dump-dom",
)  # fmt: skip
NASTY = "<b>&.mp4"
View = Callable[..., ArtifactView]


@pytest.fixture
def view(tmp_path: Path) -> View:
    """An artifact on disk: ``view("slic", "k1", inputs={"frames": ["k0"]}, picture=True)``."""

    def make(
        step: str, key: str, *, picture: bool = False, noun: str = "boxes", **more: Any
    ) -> ArtifactView:
        folder = tmp_path / key
        folder.mkdir()
        if picture:
            image = np.full((20, 700, 3), sum(key.encode()) % 256, np.uint8)
            (folder / PREVIEW_NAME).write_bytes(encode_jpeg(image, quality=80))
        values: dict[str, Any] = {
            "stage": step, "parameters": {}, "inputs": {}, "items": [], "quarantined": (),
            "seconds": 1.5, "created": "2026-11-21 05:00", "host": "box",
            "files": {"data.arrow": FileEntry("0" * 64, 512)}, "part": None,
        }  # fmt: skip
        manifest = Manifest(
            key=key, step=step, stage_version=1, noun=noun, noun_version=1, **(values | more)
        )
        return ArtifactView(
            manifest, lambda: folder, lambda name: folder / name if picture else None
        )

    return make


@pytest.fixture
def views(view: View) -> list[ArtifactView]:
    reject = QuarantineRow(NASTY, "decode", "BadVideo", "0 of 9 <frames> decoded", 0, 9)
    metrics = view("probe", "probe-k", noun=Metrics.name, inputs={"boxes": ["slic-0", "slic-1"]})
    Metrics(
        [
            MetricRow("linear probe", "pretrained", "test", "top-1", 0.625, 8),
            MetricRow("linear probe", "random", "test", "top-1", 0.25, 8),
            MetricRow("linear probe", "chance", "test", "top-1", 0.125, 8),
            MetricRow("linear probe", "pretrained", "train", "top-1", 1.0, 24),
        ]
    ).write(metrics.folder)
    return [
        view("decode", "decode-0", part="0", items=["a.mp4", "c.mp4"], quarantined=[reject]),
        view("decode", "decode-1", part="1", items=["d.mp4"], picture=True),
        *(
            view(
                "slic",
                f"slic-{i}",
                part=str(i),
                items=["x"] * (2 - i),
                inputs={"frames": [f"decode-{i}"]},
                parameters={"note": "<i>&", "num_segments": 16},
                picture=True,
                libraries={"scikit-image": "0.26"},
            )
            for i in range(2)
        ),
        metrics,
    ]


class Page(HTMLParser):
    """Rows of the tables, references, and every element that could load something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self._in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]
        self.ids += [v or "" for k, v in attrs if k == "id"]
        if tag == "tr":
            self.rows.append([])
        self._in_cell = tag in ("td", "th") or (self._in_cell and tag != "tr")
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


def test_parts_of_a_step_are_one_section(views: list[ArtifactView]) -> None:
    decode, slic, probe = sections(views)
    assert (decode.step, decode.videos, decode.quarantined, decode.keys) == (
        "decode", 3, 1, ["decode-0", "decode-1"],
    )  # fmt: skip
    assert (decode.bytes, decode.seconds) == (1024, 3.0)
    assert slic.inputs == {"frames": ["decode"]}
    assert probe.inputs == {"boxes": ["slic"]}
    rows = Page(render(views, title="t")).rows
    assert ["slic", "decode", "2", "3", "", "3.0", "1.0 KiB"] in rows
    assert ["decode", "", "2", "3", "1", "3.0", "1.0 KiB"] in rows


def test_pictures_are_embedded(views: list[ArtifactView]) -> None:
    page = Page(render(views, title="t"))
    data = [r.partition("base64,")[2] for r in page.references if r.startswith("data:image/jpeg")]
    expected = [view.preview.read_bytes() for view in views if view.preview is not None]
    assert len(expected) == 3
    assert [base64.b64decode(one) for one in data] == expected


def test_a_step_of_many_parts_shows_few_pictures(view: View) -> None:
    (section,) = sections([view("slic", f"slic-{i}", picture=True) for i in range(9)])
    assert len(section.pictures) == 2


def test_encoders_stand_side_by_side(views: list[ArtifactView]) -> None:
    top, train = results(views)
    assert top["values"] == {"pretrained": 0.625, "random": 0.25, "chance": 0.125}
    assert train["values"] == {"pretrained": 1.0}
    rows = Page(render(views, title="t")).rows
    rows = [[cell.strip() for cell in row] for row in rows]
    assert ["linear probe", "test", "top-1", "62.5 %", "25.0 %", "12.5 %", "", "8"] in rows
    assert ["linear probe", "train", "top-1", "100.0 %", "", "", "", "24"] in rows


def test_two_stages_of_one_protocol_share_a_line_unless_they_have_one_encoder(view: View) -> None:
    made = []
    for step, encoder, value in (
        ("recognise", "pretrained", 0.9), ("recognise_untrained", "random", 0.5),
        ("recognise_again", "pretrained", 0.7),
    ):  # fmt: skip
        metrics = view(step, step, noun=Metrics.name)
        Metrics([MetricRow("fine-tune", encoder, "test", "top-1", value, 8)]).write(metrics.folder)
        made.append(metrics)
    first, second = results(made)
    assert first["values"] == {"pretrained": 0.9, "random": 0.5}
    assert second["values"] == {"pretrained": 0.7}


def test_intervals_presets_and_figures_that_are_no_shares(view: View) -> None:
    metrics = view("finetune_test", "k", noun=Metrics.name)
    chosen = {"preset": "fame, epoch chosen on test", "low": 0.5, "high": 0.75}
    Metrics(
        [
            MetricRow("fine-tune", "pretrained", "test", "top-1", 0.625, 8, **chosen),
            MetricRow("diagnostics", "random", "test", "uniformity", -2.5, 8, unit="number"),
        ]
    ).write(metrics.folder)
    rows = [
        [" ".join(cell.split()) for cell in row] for row in Page(render([metrics], title="t")).rows
    ]
    name = "fine-tune (fame, epoch chosen on test)"
    assert [name, "test", "top-1", "62.5 % 50-75", "", "", "", "8"] in rows
    assert ["diagnostics", "test", "uniformity", "", "-2.5", "", "", "8"] in rows


def test_a_baseline_that_is_no_encoder_has_a_column(view: View) -> None:
    metrics = view("tracking", "k", noun=Metrics.name)
    Metrics(
        [
            MetricRow("tracking", "pretrained", "test", "IoU", 0.75, 8),
            MetricRow("tracking", "no motion", "test", "IoU", 0.5, 8),
        ]
    ).write(metrics.folder)
    header, row = [
        [" ".join(cell.split()) for cell in row] for row in Page(render([metrics], title="t")).rows
    ][:2]
    assert header[3:7] == ["pretrained", "random", "chance", "no motion"]
    assert row[3:7] == ["75.0 %", "", "", "50.0 %"]


def test_published_numbers_stand_beside_the_same_thing(view: View) -> None:
    """The lineage tells method, encoder and data set; another encoder has no number."""

    def shown(encoder: str, width: int = 64) -> str:
        key = f"{encoder}-{width}-"
        views = [
            view("ucf101", f"{key}videos", noun=VideoFile.name),
            view("shard", f"{key}shard", inputs={"frames": [f"{key}videos"]}),
            view("kinetics400", f"{key}others", noun=VideoFile.name),
            view("shard", f"{key}other_shard", inputs={"frames": [f"{key}others"]}),
            view(
                "pretrain", f"{key}pretrain", inputs={"shards": [f"{key}other_shard"]},
                parameters={
                    "method": {"name": "rspnet"}, "encoder": {"name": encoder, "width": width},
                },
            ),
            view(
                "features", f"{key}features",
                inputs={"encoder": [f"{key}pretrain"], "shards": [f"{key}shard"]},
            ),
            view(
                "retrieval", f"{key}retrieval", noun=Metrics.name,
                inputs={"features": [f"{key}features"]},
            ),
        ]  # fmt: skip
        name = "retrieval B (RSPNet)"
        Metrics([MetricRow(name, "pretrained", "test", "R@1", 0.5, 8)]).write(views[-1].folder)
        html = render(views, title="t")
        assert "RSPNet supplement" in html
        return next(row for row in Page(html).rows if row[:3] == [name, "test", "R@1"])[-2]

    assert shown("c3d") == "36.0"
    assert shown("r3d18") == ""
    assert shown("c3d", width=8) == "", "a narrower encoder is another one"


def test_rejects_are_listed_and_escaped(views: list[ArtifactView]) -> None:
    assert [row.video_id for row in quarantine(views)] == [NASTY]
    html = render(views, title="<script>alert(1)</script>")
    assert "&lt;b&gt;&amp;.mp4" in html
    page = Page(html)
    assert [NASTY, "decode", "BadVideo: 0 of 9 <frames> decoded"] in page.rows
    assert not page.tags & {"b", "i", "frames", "script"}


def test_nothing_outside_is_referred_to(views: list[ArtifactView]) -> None:
    html = render(views, title="t")
    page = Page(html)
    anchors = [r for r in page.references if r.startswith("#")]
    assert {a[1:] for a in anchors} <= set(page.ids)
    assert all(r.startswith(("#", "data:")) for r in page.references)
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert not re.search(r"https?:|url\(|@import", html)


def test_a_run_without_results_or_rejects(view: View) -> None:
    html = render([view("decode", "k")], title="t")
    assert "Results" not in html
    assert "Quarantine" not in html
    assert "decode" in html


def test_stage_renders_its_title(views: list[ArtifactView]) -> None:
    assert Report(title="A & B").run(about=views).html == render(views, title="A & B")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (2**20, "1.0 MiB"), (2**50, "1024.0 TiB")],
)  # fmt: skip
def test_sizes(count: float, text: str) -> None:
    assert human_size(count) == text


@pytest.mark.skipif(
    not CHROMIUM.exists(), reason=f"NOT CHECKED: layout on a telephone needs {CHROMIUM}"
)
def test_page_fits_a_telephone(view: View, views: list[ArtifactView], tmp_path: Path) -> None:
    long = "v_HandStandPushups_" + "g01_c01" * 20 + ".mp4"
    hard = view(
        "slic_" + "x" * 60,
        "slic-sha256" + "f" * 64,
        parameters={"path": "/data/" + "folder" * 30},
        quarantined=[QuarantineRow(long, "decode", "BadVideo", "w" * 200)],
        notes=["ignored " + "n" * 120],
        host="h" * 80,
        libraries={f"library{i}": "1.0" for i in range(40)},
        picture=True,
    )
    (tmp_path / "report.html").write_text(render([*views, hard], title="Run " + "t" * 80))
    # Chromium's own window is never narrower than 500 pixels; a frame may be.
    (tmp_path / "frame.html").write_text(
        '<body data-width="none"><iframe id="f" src="report.html" width="390" height="844" '
        'style="border:0"></iframe><script>window.onload = () => { '
        'const page = document.getElementById("f").contentDocument; '
        'page.querySelectorAll("details").forEach(d => d.open = true); '
        "const { clientWidth, scrollWidth } = page.documentElement; "
        'document.body.dataset.width = clientWidth + "/" + scrollWidth; }'
        "</script></body>"
    )
    dump = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}",
         (tmp_path / "frame.html").as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    ).stdout  # fmt: skip
    found = re.search(r'data-width="(\d+)/(\d+)"', dump)
    assert found is not None, dump[:500]
    client, scroll = map(int, found.groups())
    assert 0 < client <= 390
    assert scroll <= client, f"the page is {scroll} pixels wide in a window of {client}"
