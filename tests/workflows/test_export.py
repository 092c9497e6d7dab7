"""``export`` of a real store, read with nothing but tarfile."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from command import tubelet
from conftest import moving_square

from stages.sources.motion_shapes import write_video
from storage_schemas.boxes import Boxes
from storage_schemas.shards import Shard


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("export")
    (root / "videos").mkdir()
    for seed in range(3):
        write_video(root / "videos" / f"a video.{seed}.mp4", moving_square(seed=seed), fps=25)
    tubelet("run", "small_recipe", "--no-prefect", "--store", root / "store",
            "--set", f"folder.path={root / 'videos'}")  # fmt: skip
    return root / "store"


def read(paths: list[Path]) -> dict[str, dict[str, bytes]]:
    """Key -> field -> bytes, as WebDataset reads tars: the field begins at the first dot."""
    found: dict[str, dict[str, bytes]] = {}
    for path in paths:
        with tarfile.open(path) as tar:
            for entry in tar:
                key, _, field = entry.name.partition(".")
                file = tar.extractfile(entry)
                assert file is not None
                found.setdefault(key, {})[field] = file.read()
    return found


def test_a_run_with_its_boxes(store: Path, tmp_path: Path) -> None:
    out = tubelet("export", "small_recipe", tmp_path / "out", "--join", "slic",
                  "--max-bytes", 40_960, "--store", store)  # fmt: skip
    paths = sorted((tmp_path / "out").iterdir())
    assert f"3 videos in {len(paths)} tars" in out
    assert len(paths) > 1
    (shard,) = (store / "artifacts" / "shard").iterdir()
    (slic,) = (store / "artifacts" / "slic").iterdir()
    stored, boxes = Shard.open_part(shard), Boxes.open_part(slic)
    samples = read(paths)
    assert len(samples) == 3
    for sample in samples.values():
        content = json.loads(sample["json"])
        video_id = content["video_id"]
        jpegs = [sample[name] for name in sorted(sample) if name.endswith(".jpg")]
        assert jpegs == list(stored[video_id].jpegs)
        np.testing.assert_array_equal(content["boxes"]["slic"]["frame"], boxes[video_id].frame)
        assert "cls" not in sample


def test_a_video_that_is_larger_than_a_tar_is_told_of(store: Path, tmp_path: Path) -> None:
    at = ("--store", store)
    out = tubelet("export", "small_recipe", tmp_path / "a", "--max-bytes", 10_240, *at)
    paths = sorted((tmp_path / "a").iterdir())
    assert len(paths) == 3
    assert all(path.stat().st_size > 10_240 for path in paths)
    assert f"3 tars of one video each exceed --max-bytes 10240, such as {paths[0]}" in out
    assert "exceed" not in tubelet("export", "small_recipe", tmp_path / "b", *at)


def test_one_shard_by_key_in_one_file(store: Path, tmp_path: Path) -> None:
    (shard,) = (store / "artifacts" / "shard").iterdir()
    for name in ("a.tar", "b.tar"):
        tubelet("export", shard.name, tmp_path / name, "--as", "mp4", "--store", store)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    fields = {tuple(sorted(sample)) for sample in read([tmp_path / "a.tar"]).values()}
    assert fields == {("json", "mp4")}


def test_what_cannot_be_exported(store: Path, tmp_path: Path) -> None:
    (slic,) = (store / "artifacts" / "slic").iterdir()
    out = tubelet("export", slic.name, tmp_path / "x", "--store", store, fails=True)
    assert "holds boxes, not frames" in out
    out = tubelet("export", "small_recipe", tmp_path / "x", "--join", "report", "--store", store,
                  fails=True)  # fmt: skip
    assert "--join report holds report; labels and boxes" in out
    assert not (tmp_path / "x").exists() or not list((tmp_path / "x").iterdir())


def test_labels_become_classes(store: Path, tmp_path: Path) -> None:
    from pipeline.store import Store
    from storage_schemas.labels import LabelRow, Labels
    from workflows.export import Joined
    from workflows.runs import find_run

    opened = Store(store)
    rows = [LabelRow("v", "walk", "train"), LabelRow("u", "run", "test")]
    folder = opened.folder("labels-0")
    folder.mkdir(parents=True)
    Labels(rows).write(folder)
    source = next((store / "artifacts" / "videos").glob("*/manifest.json"))
    content = json.loads(source.read_text()) | {"key": "labels-0", "noun": "labels", "files": {}}
    (folder / "manifest.json").write_text(json.dumps(content))
    joined = Joined(opened, ["labels-0"], find_run(opened, "small_recipe"))
    assert joined.label_of("v") == {"split": "train", "label": "walk", "class": 1}
    assert joined.label_of("u")["class"] == 0
    assert joined.label_of("w") == {}
