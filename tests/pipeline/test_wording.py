"""Counts with their nouns, and names that were meant."""

from __future__ import annotations

import pytest

from pipeline.wording import counted, suggest


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "video", "0 videos"),
        (1, "video", "1 video"),
        (2, "video", "2 videos"),
        (1, "new video", "1 new video"),
        (3, "new video", "3 new videos"),
        (1, "box", "1 box"),
        (240_000, "box", "240000 boxes"),
        (2, "class", "2 classes"),
    ],
)
def test_counted(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("decod", ["slic", "decode"], "did you mean 'decode'?"),
        ("x", ["slic", "decode"], "choose from 'slic', 'decode'"),
        ("x", [], "there is none"),
        ("x", {"a": 1, "b": 2, "c": 3}, "choose from 'a', 'b', ... (3 in all)"),
    ],
)
def test_suggest(name: str, known: list[str], hint: str) -> None:
    assert suggest(name, known, listed=2) == hint
