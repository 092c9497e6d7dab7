"""The ``tubelet`` command within the test's process: what it prints, and how it ends."""

from __future__ import annotations

import contextlib
import io
import sys
from unittest import mock

from workflows import cli
from workflows.options import console

_WIDTH = 250


def tubelet(*arguments: object, fails: bool = False) -> str:
    """Output of ``tubelet ARGUMENTS``; asserts that it succeeds, or `fails`."""
    told, status = io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["tubelet", *map(str, arguments)]),
        mock.patch.object(console, "_width", _WIDTH),
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(told),
    ):
        try:
            cli.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
    out = told.getvalue()
    assert (status != 0) == fails, out
    return out
