"""What is printed keeps every letter of it, however narrow the console is."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

from workflows.display import print_table

KEY = "felzenszwalb-08cdf7f981305057cf3ee8f3"
ROWS = [(KEY, "[red].mp4", "a cause that is told in many words, for it has many")]


def printed(width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    print_table(console, ("key", "video", "cause"), ROWS)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [10, 40, 60, 70, 80, 100, 1000])
def test_a_table_cuts_nothing(width: int) -> None:
    head, *lines = printed(width)
    assert head.split() == ["key", "video", "cause"]
    assert lines[0].startswith(f"{KEY}  [red].mp4  a cause")
    rest = [line[len(KEY) + len("[red].mp4") + 4 :] for line in lines]
    assert "".join(rest).replace(" ", "") == ROWS[0][2].replace(" ", "")
    assert len(lines) == 1 if width in (10, 40, 60, 1000) else len(lines) > 1


@pytest.mark.parametrize(("columns", "lines"), [(None, 1), ("80", 8)])
def test_a_pipe_gets_whole_lines(columns: str | None, lines: int) -> None:
    code = "from workflows.options import console; console.print('word ' * 120)"
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    env |= {"COLUMNS": columns} if columns else {}
    out = subprocess.check_output([sys.executable, "-c", code], text=True, env=env)
    assert len(out.splitlines()) == lines
