"""Which of Prefect's task runners a run uses; nothing of Prefect is imported to choose one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal
from urllib.parse import urlsplit

from storage_schemas.errors import MissingDependency, ParameterError

Kind = Literal["threads", "processes", "dask", "ray"]

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Runner:
    """Where the tasks of a run are executed.

    Parameters
    ----------
    kind : str
        ``threads`` or ``processes`` of this machine, ``dask`` or ``ray``.
    address : str or None
        Of a Dask scheduler (``tcp://HOST:8786``) or a Ray cluster (``HOST:6379``) that is there
        already. Without one a cluster of this machine is started for the run, with a worker of
        one thread for each of `Options.workers`.

    Raises
    ------
    ParameterError
        If the kind has no address.
    MissingDependency
        If an extra is not installed.
    """

    kind: Kind = "threads"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.kind in ("dask", "ray"):
            if find_spec(f"prefect_{self.kind}") is None:
                raise MissingDependency(
                    f"--runner {self.kind} needs prefect-{self.kind}: "
                    f'pip install "tubelet[{self.kind}]"'
                )
        elif self.address is not None:
            raise ParameterError(
                f"--runner-address {self.address} is for --runner dask and ray; {self.kind} are "
                "of this machine"
            )

    def __str__(self) -> str:
        return f"{self.kind} at {self.address}" if self.address else self.kind

    def check_server(self, *, prefect: bool = True) -> None:
        """Whether the tasks can report to the Prefect server.

        Raises
        ------
        ParameterError
            If there is to be none, or it listens where other machines cannot reach it.
        """
        if not prefect and self.kind != "threads":
            raise ParameterError(
                f"--runner {self.kind} is one of Prefect's; leave out --no-prefect, or use "
                "--runner threads"
            )
        api = os.environ.get("PREFECT_API_URL", "http://127.0.0.1")
        if self.address and _is_remote(self.address) and not _is_remote(api):
            raise ParameterError(
                f"workers of {self.address} must report to a Prefect server, and PREFECT_API_URL "
                f"is {os.environ.get('PREFECT_API_URL', 'not set')}, which reaches this machine "
                "only; start one for all (prefect server start --host 0.0.0.0) and set "
                "PREFECT_API_URL=http://HOST:4200/api"
            )


def _is_remote(address: str) -> bool:
    """Whether another machine may be meant."""
    host = urlsplit(address if "://" in address else f"//{address}").hostname
    return host not in _LOOPBACK
