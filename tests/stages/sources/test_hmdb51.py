"""Hmdb51: tags, names that no shell may see, and what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from miniatures import by_place

from pipeline.source import Listing
from stages.decode.decode import Decode
from stages.sources.hmdb51 import Hmdb51, read_tagged_lists
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow

WAVE = "wave/#20_Rhythm_(a)_&_b_wave_u_nm_np1_fr_goo_0.avi"
LISTS = {
    "wave": f"{WAVE.partition('/')[2]} 1 \nwave_test_1.avi 2 \nwave_unused.avi 0 \n",
    "ride_bike": "bike_a.avi 1\nbike_gone.avi 2\n\n",
}
FILES = [WAVE, "wave/wave_test_1.avi", "wave/wave_unused.avi", "ride_bike/bike_a.avi"]


@pytest.fixture
def root(tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    lists = tmp_path / "testTrainMulti_7030_splits"
    lists.mkdir()
    for label, text in LISTS.items():
        (lists / f"{label}_test_split1.txt").write_text(text)
        (lists / f"{label}_test_split2.txt").write_text(text.replace("1", "2"))
    for seed, name in enumerate(FILES):
        make_video(tmp_path / "videos" / name, seed=seed)
    return tmp_path


def scan(root: Path, **parameters: object) -> Listing:
    source = Hmdb51.model_validate({"path": root, **parameters})
    return source.scan(digest=by_place, dataset=None)


def test_ids_labels_splits_and_counts(root: Path) -> None:
    listing = scan(root)
    assert listing.labels == [
        LabelRow("ride_bike/bike_a.avi", "ride_bike", "train"),
        LabelRow(WAVE, "wave", "train"),
        LabelRow("wave/wave_test_1.avi", "wave", "test"),
    ]
    assert [video.video_id for video in listing.videos] == [r.video_id for r in listing.labels]
    assert listing.notes == [
        "train: 2 of 2 listed videos are there (the official list has 3570)",
        "test: 1 of 2 listed videos are there (the official list has 1530), 1 are missing: "
        "ride_bike/bike_gone.avi",
    ]


def test_its_files_decode(root: Path) -> None:
    for video in scan(root).videos:
        assert len(Decode().process(videos=video)) == 12


def test_a_tag_of_0_is_in_no_split_and_no_extra_file(root: Path) -> None:
    rows, unused = read_tagged_lists(root, 1)
    assert unused == ["wave/wave_unused.avi"]
    assert unused[0] not in {row.video_id for row in rows}
    (root / "videos/wave/nobody_knows.avi").touch()
    (root / "videos/wave/._hidden.avi").touch()
    assert scan(root).notes[2:] == ["1 files are in no list that is used: wave/nobody_knows.avi"]


def test_splits_have_lists_of_their_own(root: Path) -> None:
    assert {row.split for row in scan(root, split=2).labels or ()} == {"test"}
    with pytest.raises(SourceError, match=r"holds no list <class>_test_split3\.txt; unpack"):
        scan(root, split=3)


def test_class_folders_may_lie_at_the_top(root: Path) -> None:
    before = [video.video_id for video in scan(root).videos]
    (root / "videos/wave").rename(root / "wave")
    assert [video.video_id for video in scan(root).videos] == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.avi 3\n", r"wave_test_split1\.txt:1: 'a\.avi 3' is not '<file>\.avi 0\|1\|2'"),
        ("a.avi 1\nb.avi\n", r"wave_test_split1\.txt:2: 'b\.avi' is not"),
        ("a.avi 1\na.avi 2\n", r"txt:2: 'wave/a\.avi' is listed as 'wave' \(test\), and before"),
        (b"\xff\xfe\x00", r"wave_test_split1\.txt cannot be read"),
    ],
)
def test_bad_lists_name_file_and_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "wave_test_split1.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SourceError, match=message):
        read_tagged_lists(tmp_path, 1)


def test_no_video_at_all_is_an_error(root: Path) -> None:
    (root / "videos").rename(root.parent / "elsewhere")
    with pytest.raises(SourceError, match="holds none of the 4 videos of split 1"):
        scan(root)
