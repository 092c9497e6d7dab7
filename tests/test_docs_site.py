"""The site builds without a warning, its links lead somewhere, and it needs no internet."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]


class _Page(HTMLParser):
    """Ids, links, and what a browser fetches to show the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.ids.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in ("script", "img", "source", "iframe") and "src" in values:
            self.fetched.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preconnect", "preload"):
            self.fetched.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, _Page]:
    return {path: _Page(path.read_text()) for path in site.rglob("*.html")}


def test_links_lead_somewhere(site: Path, pages: dict[Path, _Page]) -> None:
    def dead() -> Iterator[str]:
        for path, page in pages.items():
            if path.name == "404.html":  # its links are absolute
                continue
            for link in page.links:
                parts = urlsplit(link)
                if parts.scheme or parts.netloc:
                    continue
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                if not target.exists():
                    yield f"{path.relative_to(site)}: {link}"
                elif parts.fragment and unquote(parts.fragment) not in pages[target].ids:
                    yield f"{path.relative_to(site)}: {link} has no such place"

    assert list(dead()) == []


def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, _Page]) -> None:
    fetched = {link for page in pages.values() for link in page.fetched}
    assert [link for link in fetched if urlsplit(link).netloc] == []
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", sheet.read_text()), sheet.name


def test_every_module_is_in_the_reference(site: Path, pages: dict[Path, _Page]) -> None:
    ids = {name for page in pages.values() for name in page.ids}
    for name in (
        "pipeline.stage.Stage",
        "stages.decode.decode.Decode",
        "storage_schemas.boxes.Boxes",
    ):
        assert name in ids
