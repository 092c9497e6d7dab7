"""A real S3 API server (moto's) in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

BUCKET = "videos"
# S3 checks the condition of a write and writes in one step, moto in two: with so long an interval
# no other of its threads gets in between.
_SERVER = "import sys; sys.setswitchinterval(10); from moto.server import main; main()"


@contextmanager
def s3_server(port: int | None = None) -> Iterator[str]:
    """Start a server with an empty bucket, and point this process and its children at it.

    Yields its URL. What was in it is gone when it ends; one that is started again at the
    port of another is empty, too.
    """
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # a line for each request
    )
    try:
        _wait_for(server, port)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", url)
            patch.setenv("AWS_ACCESS_KEY_ID", "tubelet")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "tubelet")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            bucket().create()
            forget_clients()
            yield url
    finally:
        server.kill()
        server.wait()
        forget_clients()


def forget_clients() -> None:
    """Make fsspec look at the environment anew."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


def bucket(name: str = BUCKET) -> Any:
    """The bucket as boto3 sees it, for tests that put objects there or take them away."""
    import boto3

    return boto3.resource("s3").Bucket(name)


def refuse(url: str, refused: bool) -> None:
    """Let the server at `url` know nobody's keys, or everybody's again."""
    counted = urllib.request.Request(
        f"{url}/moto-api/reset-auth",
        b"0" if refused else b"inf",  # requests until it looks at keys
        {"content-type": "text/plain"},
    )
    urllib.request.urlopen(counted).close()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(600):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"moto's server does not answer at port {port}: {server.poll()=}")
