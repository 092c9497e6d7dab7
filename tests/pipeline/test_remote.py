"""Objects of a real S3 API: listed, digested, fetched, and what is told when they cannot be."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
from s3_server import bucket, refuse, s3_server

from pipeline import remote
from pipeline.digests import Digests
from pipeline.found_file import FoundFile
from pipeline.transient import retrying
from storage_schemas.errors import BadVideo, MissingDependency, SourceError
from storage_schemas.videos import VideoFile

URL = "s3://videos/set"


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(autouse=True)
def _empty() -> None:
    bucket().objects.delete()


def put(**objects: str) -> None:
    for name, text in objects.items():
        bucket().put_object(Key=f"set/{name}", Body=text.encode())


def video(name: str, text: str) -> VideoFile:
    return VideoFile(name, sha256(text.encode()).hexdigest(), len(text), f"{URL}/{name}")


def test_a_listing_tells_size_and_stamp_of_what_lies_below(server: str) -> None:
    put(**{"a.mp4": "a", "b/c.mp4": "ccc", "b/": "", "odd ünd::#?x=1%20.mp4": "o"})
    bucket().put_object(Key="settled/no.mp4", Body=b"beside")
    found = remote.find(f"{URL}/")
    assert {name: size for name, (size, _) in found.items()} == {
        "a.mp4": 1, "b/c.mp4": 3, "b/": 0, "odd ünd::#?x=1%20.mp4": 1,
    }  # fmt: skip
    put(**{"a.mp4": "A"})
    later = remote.find(URL)
    assert [name for name in found if found[name] != later[name]] == ["a.mp4"]
    assert remote.content_sha256(f"{URL}/odd ünd::#?x=1%20.mp4", 1) == sha256(b"o").hexdigest()


def test_digests_are_those_of_files_whatever_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_BLOCK", 4)
    for text in ("", "1234", "123456789"):
        put(**{"a.mp4": text})
        digest = remote.content_sha256(f"{URL}/a.mp4", len(text))
        assert digest == sha256(text.encode()).hexdigest()


def test_an_object_is_read_once_until_it_changes(tmp_path: Path) -> None:
    names = [f"{n:02d}.mp4" for n in range(20)]
    put(**{name: f"content of {name}" for name in names})
    read: list[str] = []
    digests = Digests(tmp_path / "d.sqlite", on_hashed=lambda place, size: read.append(place))

    def scan() -> list[str]:
        found = remote.find(URL).items()
        return digests([FoundFile(f"{URL}/{name}", *state) for name, state in found])

    first = scan()
    assert first == [sha256(f"content of {name}".encode()).hexdigest() for name in names]
    assert read == [f"{URL}/{name}" for name in names]
    assert scan() == first
    put(**{"07.mp4": "Content of 07.mp4"})  # as long as before
    changed = scan()
    assert [a != b for a, b in zip(first, changed, strict=True)] == [n == 7 for n in range(20)]
    assert read[20:] == [f"{URL}/07.mp4"]
    assert digests([FoundFile(f"{URL}/gone.mp4", 3, "x")])[0].startswith("unreadable: ")
    digests.close()


def test_an_interrupt_keeps_what_was_read_and_reads_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{n:03d}.mp4" for n in range(100)]
    put(**dict.fromkeys(names, "the same"))
    files = [FoundFile(f"{URL}/{name}", 8, "stamp") for name in names]
    asked: list[str] = []
    read = remote.content_sha256
    monkeypatch.setattr(
        remote, "content_sha256", lambda url, size: (asked.append(url), read(url, size))[1]
    )

    def interrupt(place: str, size: int) -> None:
        raise KeyboardInterrupt

    digests = Digests(tmp_path / "d.sqlite", on_hashed=interrupt)
    with pytest.raises(KeyboardInterrupt):
        digests(files)
    digests.close()
    assert len(asked) < 50  # those under way
    asked.clear()
    digests = Digests(tmp_path / "d.sqlite")
    digests(files)
    assert len(asked) == 99
    digests.close()


def test_a_video_is_at_hand_as_long_as_it_is_needed(tmp_path: Path) -> None:
    put(**{"a.y4m": "a video"})
    with remote.at_hand(video("a.y4m", "a video"), tmp_path) as here:
        assert here.path is not None
        assert here.path.suffix == ".y4m"
        assert here.path.read_text() == "a video"
        assert (here.video_id, here.digest) == ("a.y4m", video("a.y4m", "a video").digest)
    assert not list(tmp_path.iterdir())
    local = VideoFile("a.y4m", "digest", 1, tmp_path / "a.y4m")
    with remote.at_hand(local, tmp_path) as here:
        assert here is local


def test_what_is_gone_or_changed_is_the_fault_of_the_video(tmp_path: Path) -> None:
    with (
        pytest.raises(BadVideo, match=f"^{URL}/gone.mp4 is gone"),
        remote.at_hand(video("gone.mp4", "x"), tmp_path),
    ):
        pass
    put(**{"a.mp4": "new"})
    with (
        pytest.raises(BadVideo, match=f"^{URL}/a.mp4 has SHA-256 .*changed since"),
        remote.at_hand(video("a.mp4", "old"), tmp_path),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_no_bucket_and_no_right_name_the_url_and_the_remedy(server: str, tmp_path: Path) -> None:
    put(**{"a.mp4": "a"})
    with pytest.raises(SourceError, match=r"^s3://nowhere/set does not exist .*bucket's name"):
        remote.find("s3://nowhere/set")
    with pytest.raises(SourceError, match=r"^s3://videos/set/a.mp4 is a file; give the folder"):
        remote.find(f"{URL}/a.mp4")
    with pytest.raises(SourceError, match=r"^what://x cannot be read: .*s3://BUCKET/FOLDER"):
        remote.find("what://x")

    refuse(server, True)
    try:
        with pytest.raises(SourceError, match=rf"^{URL} may not be read .*AWS_PROFILE"):
            remote.find(URL)
        with (
            pytest.raises(SourceError, match=rf"^{URL}/a.mp4 may not be read .*AWS_PROFILE"),
            remote.at_hand(video("a.mp4", "a"), tmp_path),
        ):
            pass
    finally:
        refuse(server, False)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients give up at once, so that the attempts are ours."""
    import s3fs

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setattr(s3fs.S3FileSystem, "cachable", False)


def forward(listener: socket.socket, port: int) -> None:
    """Hand on what comes to a socket, until it is closed."""

    def pump(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        other.close()

    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()


@pytest.mark.usefixtures("impatient")
def test_a_service_that_is_away_for_a_moment_is_waited_for(
    server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(**{"a.mp4": "a"})
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # connections are refused until it listens

        def pauses() -> Iterator[float]:
            yield 0.01  # after the first attempt
            listener.listen()
            port = int(server.rpartition(":")[2])
            threading.Thread(target=forward, args=(listener, port), daemon=True).start()
            yield from (0.1,) * 20

        monkeypatch.setattr(remote, "retrying", partial(retrying, pauses=pauses()))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert remote.find(URL).keys() == {"a.mp4"}
        assert "trying again" in caplog.text
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.usefixtures("impatient")
def test_a_service_that_stays_away_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "retrying", partial(retrying, pauses=(0.01,)))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match=rf"^{URL} cannot be reached .*run the same command"):
        remote.find(URL)
    with (
        pytest.raises(SourceError, match=rf"^{URL}/a.mp4 cannot be reached "),
        remote.at_hand(video("a.mp4", "a"), tmp_path),
    ):
        pass


def test_the_missing_extra_is_named_and_local_folders_import_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    code = (
        "import sys; from pathlib import Path\n"
        "from stages.sources.walk import walk; from pipeline import remote\n"
        "import workflows.cli\n"
        "assert walk(Path(sys.argv[1])).files.keys() == {'a.mp4'}\n"
        "assert not {'fsspec', 's3fs'} & sys.modules.keys()\n"
        "sys.modules['s3fs'] = None\n"
        "try: remote.find('s3://videos/set')\n"
        "except remote.MissingDependency as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "pip install 'tubelet[s3]'" in done.stdout
    assert MissingDependency.__name__ in dir(remote)
