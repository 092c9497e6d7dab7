"""Prefect's server on a real PostgreSQL: ``tubelet serve`` brings it up, a schedule fires."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from live_server import CLIPS, SMALL, TUBELET, environment, free_port, running, wait_for

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [
    Path(found).parent for found in [shutil.which("initdb")] if found
]
ROOT = os.geteuid() == 0  # whom PostgreSQL refuses

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.xdist_group("prefect"),
    pytest.mark.skipif(not PROGRAMS, reason="no PostgreSQL here: apt-get install postgresql"),
]


class Postgres:
    """A database in a folder; the account of the operating system owns it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.account = "nobody" if ROOT else getpass.getuser()
        self.url = f"postgresql+asyncpg://prefect@127.0.0.1:{self.port}/prefect"

    def command(self, program: str, *arguments: object) -> list[str]:
        return [str(PROGRAMS[-1] / program), *map(str, arguments)]

    def as_owner(self, program: str, *arguments: object) -> None:
        subprocess.run(
            self.command(program, *arguments),
            user=self.account if ROOT else None,
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )

    def query(self, text: str) -> list[str]:
        where = ["-h", "127.0.0.1", "-p", self.port, "-U", "prefect", "-d", "prefect"]
        command = self.command("psql", *where, "-Atc", text)
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.split("\n")[:-1]


@contextmanager
def started(folder: Path) -> Iterator[Postgres]:
    """In a folder that the account can reach: those of pytest are closed to others."""
    database = Postgres(folder)
    if ROOT:
        os.chown(folder, pwd.getpwnam(database.account).pw_uid, -1)
    data = folder / "data"
    database.as_owner("initdb", "-D", data, "-U", "prefect", "-A", "trust", "--no-sync")
    options = f"-p {database.port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
    database.as_owner("pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start")
    try:
        address = ["-h", "127.0.0.1", "-p", database.port, "-U", "prefect"]
        database.as_owner("createdb", *address, "prefect")
        yield database
    finally:
        database.as_owner("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with (
        tempfile.TemporaryDirectory(prefix="tubelet-postgres-") as folder,
        started(Path(folder)) as database,
    ):
        yield database


def test_a_schedule_fires_and_a_run_is_in_its_rows(postgres: Postgres, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "cup.mp4").symlink_to(CLIPS / "cup.mp4")
    port = free_port()
    serve = [
        *TUBELET, "serve", "ingest", "--data", str(tmp_path / "videos"), "--interval", "10",
        "--store", str(tmp_path / "store"), "--port", str(port), "--set", SMALL[0],
        "--set", SMALL[1],
    ]  # fmt: skip
    settings = {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres.url,
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
    }
    states = "SELECT created_by->>'type', state_type FROM flow_run WHERE state_type <> 'SCHEDULED'"
    with running(serve, tmp_path, **settings) as served:

        def completed() -> bool:
            assert served.poll() is None, (tmp_path / "log").read_text()
            return "SCHEDULE|COMPLETED" in postgres.query(states)

        def listening() -> bool:
            assert served.poll() is None, (tmp_path / "log").read_text()
            return "serving ingest/served" in (tmp_path / "log").read_text()

        wait_for(listening)
        run = [
            *TUBELET, "run", "small_recipe", "--store", str(tmp_path / "other"),
            "--data", str(tmp_path / "videos"),
        ]  # fmt: skip
        url = f"http://127.0.0.1:{port}/api"
        subprocess.run(run, env=environment(PREFECT_API_URL=url), cwd=tmp_path, check=True)
        wait_for(completed)
    assert "|COMPLETED" in postgres.query(states)
    flows = postgres.query("SELECT DISTINCT f.name FROM flow f JOIN flow_run r ON r.flow_id = f.id")
    assert sorted(flows) == ["ingest", "tubelet"]
    (count,) = postgres.query("SELECT count(*) FROM artifact WHERE key = 'small-recipe-run'")
    assert count == "1"
    assert not (tmp_path / "store" / "prefect" / "prefect.db").exists()
