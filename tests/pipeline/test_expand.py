"""Parts, keys and notes from real folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from probe_stages import Count, Grow, Probe

from pipeline.digests import Digests
from pipeline.expand import Graph, expand
from pipeline.found_file import FoundFile
from pipeline.ledger import Ledger
from pipeline.source import labels_of, split_of
from pipeline.store import Store
from stages.sources.folder import Folder
from stages.sources.ucf101 import Ucf101
from storage_schemas.errors import ParameterError, SourceError
from storage_schemas.labels import Labels


def open_graph(store: Store, folder: Path, *, part_size: int = 2) -> Graph:
    boxes = Grow().of(boxes=Probe().of(videos=Folder(path=folder).of()))
    ledger = Ledger(store.documents, part_size=part_size)
    digests = Digests(store.root / "digests.sqlite")
    return expand([Count().of(boxes=boxes)], ledger=ledger, digests=digests)


def keys(graph: Graph, step: str) -> list[str]:
    return [node.key for node in graph.of_step(step)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "videos"
    root.mkdir()
    for name in "abcde":
        (root / f"{name}.mp4").write_text(name)
    return root


def test_parts_follow_the_ledger(store: Store, folder: Path) -> None:
    graph = open_graph(store, folder)
    assert [node.video_ids for node in graph.of_step("probe")] == [
        ("a.mp4", "b.mp4"), ("c.mp4", "d.mp4"), ("e.mp4",),
    ]  # fmt: skip
    assert len(graph.of_step("count")) == 1


def test_moving_a_data_set_changes_no_key(store: Store, folder: Path, tmp_path: Path) -> None:
    before = open_graph(store, folder)
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    shutil.move(folder, moved)
    after = open_graph(store, moved)
    assert [n.key for n in before.nodes] == [n.key for n in after.nodes]


def test_adding_opens_a_new_part(store: Store, folder: Path) -> None:
    before = keys(open_graph(store, folder), "probe")
    (folder / "aa.mp4").write_text("aa")
    after = keys(open_graph(store, folder), "probe")
    assert after[:3] == before
    assert len(after) == 4


def test_removing_touches_its_part_only(store: Store, folder: Path) -> None:
    before = keys(open_graph(store, folder), "grow")
    (folder / "c.mp4").unlink()
    after = keys(open_graph(store, folder), "grow")
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_replacing_touches_its_part_only(store: Store, folder: Path) -> None:
    before = keys(open_graph(store, folder), "grow")
    (folder / "c.mp4").write_text("other")
    after = keys(open_graph(store, folder), "grow")
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_duplicates_are_kept_once_and_told(store: Store, folder: Path) -> None:
    open_graph(store, folder)
    (folder / "0copy.mp4").write_text("a")  # sorts first, came last
    graph = open_graph(store, folder)
    assert graph.notes["folder"] == ["1 exact duplicates are left out: 0copy.mp4 = a.mp4"]
    assert "0copy.mp4" not in {v for node in graph.nodes for v in node.video_ids}


def test_labels_need_a_source_that_has_them(store: Store, folder: Path) -> None:
    with pytest.raises(ParameterError, match="knows no labels"):
        expand(
            [labels_of(Folder(path=folder).of())],
            ledger=Ledger(store.documents),
            digests=Digests(store.root / "digests.sqlite"),
        )


def test_without_labels_all_videos_are_for_training_and_optional_readers_go_without(
    store: Store, folder: Path
) -> None:
    source = Folder(path=folder).of()
    counted = Count().of(boxes=Probe().of(videos=source), labels=labels_of(source))
    graph = expand(
        [counted, split_of(source)],
        ledger=Ledger(store.documents),
        digests=Digests(store.root / "digests.sqlite"),
    )
    (count,), (split,) = graph.of_step("count"), graph.of_step("folder_split")
    assert count.inputs.keys() == {"boxes"}
    assert isinstance(split.literal, Labels)
    assert [(row.video_id, row.label, row.split) for row in split.literal.rows] == [
        (f"{name}.mp4", "", "train") for name in "abcde"
    ]


def test_source_errors_carry_the_step(store: Store, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"does not exist.*\[stage 'folder'\]"):
        open_graph(store, tmp_path / "nowhere")


def test_two_steps_need_two_names(store: Store, folder: Path) -> None:
    videos = Folder(path=folder).of()
    with pytest.raises(ParameterError, match=r"two steps are named 'probe'.*step_name"):
        expand(
            [Probe().of(videos=videos), Probe(shift=1).of(videos=videos)],
            ledger=Ledger(store.documents),
            digests=Digests(store.root / "digests.sqlite"),
        )


def test_digests_are_remembered(store: Store, folder: Path) -> None:
    hashed: list[str] = []
    digests = Digests(store.root / "d.sqlite", on_hashed=lambda p, n: hashed.append(p))

    def digest(name: str) -> str:
        (found,) = digests([FoundFile.at(folder / name)])
        return found

    first = digest("a.mp4")
    assert digest("a.mp4") == first
    assert hashed == [str(folder / "a.mp4")]
    (folder / "a.mp4").write_text("changed")
    assert digest("a.mp4") != first
    assert digest("none.mp4") == "unreadable: No such file or directory"


def test_labels_and_split_have_keys_of_their_own(store: Store, tmp_path: Path) -> None:
    def keys_of(lists: tuple[str, str]) -> tuple[str, str]:
        root = tmp_path / "ucf"
        for name in ("A/v_A_g01_c01.avi", "B/v_B_g01_c01.avi"):
            path = root / "UCF-101" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        (root / "ucfTrainTestlist").mkdir(exist_ok=True)
        for kind, text in zip(("train", "test"), lists, strict=True):
            (root / "ucfTrainTestlist" / f"{kind}list01.txt").write_text(text)
        source = Ucf101(path=root).of()
        graph = expand(
            [labels_of(source), split_of(source)],
            ledger=Ledger(store.documents),
            digests=Digests(store.root / "digests.sqlite"),
        )
        (labels,), (split,) = graph.of_step("ucf101_labels"), graph.of_step("ucf101_split")
        assert {row.label for row in split.literal.rows} == {""}  # type: ignore[union-attr]
        return labels.key, split.key

    a, b = "A/v_A_g01_c01.avi", "B/v_B_g01_c01.avi"
    before = keys_of((f"{a} 1\n", f"{b}\n"))
    after = keys_of((f"{b} 2\n", f"{a}\n"))
    assert before[0] != after[0]
    assert before[1] != after[1]
