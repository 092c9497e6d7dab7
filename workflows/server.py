"""Settings of Prefect, made before it is imported: offline, quiet, beside the store.

``PREFECT_API_URL`` chooses a server. Without it an embedded one (SQLite in
``<store>/prefect``) starts for the run; its runs stay visible with ``tubelet ui``.
"""

from __future__ import annotations

import os
import subprocess
import sys

from pipeline.store import Store

PORT = 4200


def prepare(store: Store) -> None:
    """Set the environment; what the user has set already stays."""
    defaults = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_HOME": str(store.root / "prefect"),
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
        # A first start on two busy cores takes 20-40 s; the default gives up after 20.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_CLI_PROMPT": "false",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def describe() -> str:
    """Which server a run reports to."""
    url = os.environ.get("PREFECT_API_URL")
    return f"server {url}" if url else "embedded server (the first start takes half a minute)"


def serve_ui(store: Store, port: int) -> int:
    """Start the server with its UI in the foreground; returns its exit status."""
    prepare(store)
    environment = os.environ | {
        # With another port than 4200 the UI would call the wrong one.
        "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_LOGGING_LEVEL": "WARNING",
    }
    command = [sys.executable, "-m", "prefect", "server", "start"]
    return subprocess.call([*command, "--host", "127.0.0.1", "--port", str(port)], env=environment)
