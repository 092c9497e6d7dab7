"""The ledger keeps a video's part for ever."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.documents import Documents
from pipeline.ledger import Ledger
from pipeline.store import Store

batches = st.lists(st.lists(st.text(max_size=4), unique=True, max_size=9), max_size=6)


@given(batches)
def test_parts_are_bounded_and_stable(
    tmp_path_factory: object, given_batches: list[list[str]]
) -> None:
    root = Path(tmp_path_factory.mktemp("ledger"))  # type: ignore[attr-defined]
    ledger = Ledger(Documents(root), part_size=3)
    part_of: dict[str, str] = {}
    for batch in given_batches:
        parts = ledger.assign(batch)
        assert sorted(v for videos in parts.values() for v in videos) == sorted(batch)
        for part, videos in parts.items():
            for video in videos:
                assert part_of.setdefault(video, part) == part
        sizes: dict[str, int] = {}
        for part in part_of.values():
            sizes[part] = sizes.get(part, 0) + 1
        assert all(size <= 3 for size in sizes.values())


def test_a_cut_last_line_was_never_used(tmp_path: Path) -> None:
    ledger = Ledger(Documents(tmp_path))
    ledger.assign(["a", "b"])
    with (tmp_path / "ledger.jsonl").open("ab") as file:
        file.write(b'["c", "d')
    assert ledger.assign(["c"]) == {"0001": ["c"]}
    assert ledger.assign(["a", "c"]) == {"0000": ["a"], "0001": ["c"]}


def test_order_is_that_of_arrival(any_store: Store) -> None:
    ledger = Ledger(any_store.documents, part_size=1)
    ledger.assign(["b", "a"])
    ledger.assign(["0"])
    assert ledger.order() == {"b": 0, "a": 1, "0": 2}


APPEND = """
import json, sys, time
from pipeline.ledger import Ledger
from pipeline.store import open_store

ledger = Ledger(open_store(sys.argv[1]).documents, part_size=3)
print("ready", flush=True)
sys.stdin.readline()
for number in range(12):
    print(json.dumps(ledger.assign([f"{sys.argv[2]}-{number}-{i}" for i in range(4)])))
"""


def test_no_part_is_given_twice(any_store: Store) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", APPEND, any_store.location, name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in "abc"
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    given: dict[str, list[str]] = {}
    for process in processes:
        out, _ = process.communicate()
        assert process.returncode == 0
        for line in out.splitlines():
            for part, videos in json.loads(line).items():
                assert part not in given
                given[part] = videos
    everyone = [video for videos in given.values() for video in videos]
    assert len(set(everyone)) == len(everyone) == 3 * 12 * 4
    assert Ledger(any_store.documents, part_size=3).assign(everyone) == given
