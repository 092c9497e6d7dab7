"""The ledger keeps a video's part for ever."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.ledger import Ledger

batches = st.lists(st.lists(st.text(max_size=4), unique=True, max_size=9), max_size=6)


@given(batches)
def test_parts_are_bounded_and_stable(
    tmp_path_factory: object, given_batches: list[list[str]]
) -> None:
    path = Path(tmp_path_factory.mktemp("ledger")) / "ledger.jsonl"  # type: ignore[attr-defined]
    ledger = Ledger(path, part_size=3)
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
    path = tmp_path / "ledger.jsonl"
    Ledger(path).assign(["a", "b"])
    with path.open("ab") as file:
        file.write(b'["c", "d')
    assert Ledger(path).assign(["c"]) == {"0001": ["c"]}
    assert Ledger(path).assign(["a", "c"]) == {"0000": ["a"], "0001": ["c"]}


def test_order_is_that_of_arrival(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", part_size=1)
    ledger.assign(["b", "a"])
    ledger.assign(["0"])
    assert ledger.order() == {"b": 0, "a": 1, "0": 2}
