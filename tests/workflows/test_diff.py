"""``diff``, ``sweep``, ``runs``, ``pin``: real videos, real processes, one store."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command import tubelet

from storage_schemas.errors import ParameterError
from workflows.sweep import split_values

QUICK = ["--no-prefect", "--workers", "2"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store with two runs of a small recipe: 8 segments, then 32."""
    from conftest import moving_square

    from stages.sources.motion_shapes import write_video

    root = tmp_path_factory.mktemp("diff")
    (root / "videos").mkdir()
    for seed in range(2):
        write_video(root / "videos" / f"{seed}.mp4", moving_square(seed=seed), fps=25)
    for segments in (8, 32):
        tubelet(
            "run", "small_recipe", "--store", root / "store", *QUICK,
            "--set", f"folder.path={root / 'videos'}", "--set", f"slic.num_segments={segments}",
        )  # fmt: skip
    return root / "store", root / "videos"


def test_diff_tells_parameters_and_counts(world: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "new" / "diff.html"
    out = tubelet("diff", "small_recipe~1", "small_recipe", "--html", page, "--store", world[0])
    lines = [line.split() for line in out.splitlines()]
    assert ["slic", "num_segments", "8", "32"] in lines
    assert any(line[:4] == ["slic", "rows", "of", "boxes.arrow"] for line in lines)
    assert "3 artifacts in common; small_recipe~1 has 5, small_recipe has 5" in out
    assert "decode" not in out  # nothing of it differs
    html = page.read_text()
    assert html.count("data:image/jpeg;base64,") == 2  # slic of either run
    assert "https://" not in html


def test_a_run_by_settings_or_by_key(world: tuple[Path, Path]) -> None:
    store, _ = world
    out = tubelet("diff", "small_recipe@slic.num_segments=8", "small_recipe~1", "--store", store)
    assert "no difference" in out
    assert "5 artifacts in common" in out
    key, *_ = sorted(path.name for path in (store / "artifacts" / "slic").iterdir())
    assert "shard" in tubelet("diff", key, "small_recipe", "--store", store)
    out = tubelet("diff", "small_recipe", "small_recipe@slic.num_segments=9", "--store", store)
    assert "the store lacks 2 of 5 artifacts" in out


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (["diff", "small_recipe", "smal_recipe"], "no run is called 'smal_recipe'"),
        (["diff", "small_recipe", "smal_recipe"], "did you mean 'small_recipe'?"),
        (["gc", "--keep", "x"], "choose from 'small_recipe', 'small_recipe~1'"),
        (["export", "small_recip", "out"], "did you mean 'small_recipe"),
        (["export", "small_recipe", "out", "--join", "slik"], "did you mean 'slic'?"),
        (["show", "decod-1"], "has no artifact 'decod-1'; did you mean 'decode'?"),
        (["show", "decod-1", "--sheet"], "did you mean 'decode'?"),
        (["show", "slic-"], "2 keys of"),
        (["metrics", "repport"], "did you mean 'report'?"),
        (["verify", "shrads"], "did you mean 'shard'?"),
        (["why", "shrad"], "did you mean 'shard'?"),
        (["unpin", "x"], "no run is pinned as 'x'; there is none"),
        (["quarantine", "list", "smal_recipe"], "did you mean 'small_recipe'?"),
        (["quarantine", "retry", "smal_recipe"], "did you mean 'small_recipe"),
        (["plan", "small_recipe", "--only", "decoed"], "no step or stage 'decoed'; did you mean"),
        (["plan", "small_recipe", "--from", "decoed"], "did you mean 'decode'?"),
        (["run", "small_recipe", "--no-prefect", "--force", "decoed"], "did you mean 'decode'?"),
    ],
)
def test_a_name_that_is_nearly_right(
    world: tuple[Path, Path], command: list[str], hint: str
) -> None:
    store, videos = world
    if "small_recipe" in command and command[0] in ("plan", "run"):
        command = [*command, "--data", str(videos)]
    assert hint in tubelet(*command, "--store", store, fails=True)
    out = tubelet("diff", "small_recipe", "small_recipe", "--store", store, fails=True)
    assert "given twice" in out


def test_sweep_shares_what_is_common(world: tuple[Path, Path], tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(world[0], store)
    arguments = [
        "sweep", "small_recipe", "slic.num_segments=8,16", "slic.compactness=5,20",
        "--data", world[1], "--store", store, *QUICK,
    ]  # fmt: skip
    sharing = (
        "4 variants with 20 nodes in all, 11 different ones: "
        "3 shared by every variant, 9 need not be computed again"
    )
    out = tubelet(*arguments, "--dry-run")
    assert sharing in out
    assert "small_recipe@slic.num_segments=8,slic.compactness=20" in out
    assert "pinned" not in tubelet("runs", "--store", store)
    before = {path: path.stat().st_mtime_ns for path in (store / "artifacts").glob("decode/*")}
    out = tubelet(*arguments)
    assert sharing in out
    lines = [line.split() for line in out.splitlines()]
    assert ["slic", "num_segments", "8", "8", "16", "16"] in lines
    assert ["slic", "compactness", "5.0", "20.0", "5.0", "20.0"] in lines
    assert before == {p: p.stat().st_mtime_ns for p in (store / "artifacts").glob("decode/*")}
    name = "small_recipe@slic.num_segments=16,slic.compactness=5"
    (command,) = (line for line in out.splitlines() if "tubelet unpin" in line)
    assert f" {name} " in command
    assert command.endswith(f" --store {store}")
    assert f"{name} (pinned)" in tubelet("runs", "--store", store)
    assert "0 unused" in tubelet("gc", "--keep", "small_recipe~1", "--store", store)
    tubelet("unpin", name, "--store", store)
    assert "2 unused" in tubelet("gc", "--keep", "small_recipe~1", "--store", store)
    again = tubelet("pin", "small_recipe~1", "--as", "paper", "--store", store)
    assert "pinned paper: 5 artifacts" in again
    assert "2 unused" in tubelet("gc", "--store", store)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (["slic.num_segments"], "sweep takes stage.param=A,B,C"),
        (["slic.num_segments=8,8"], "gives a value twice"),
        (["slic.num_segments=8", "slic.num_segments=9"], "is given twice; put all"),
        (["slic.num_segment=8"], "did you mean 'num_segments'"),
    ],
)
def test_axes_that_make_no_sense(axes: list[str], message: str, tmp_path: Path) -> None:
    from pipeline.store import Store
    from workflows.sweep import open_variants

    with pytest.raises(ParameterError, match=message):
        open_variants("small_recipe", axes, [], Store(tmp_path))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("16,32", ["16", "32"]),
        ("[1,2],[3]", ["[1,2]", "[3]"]),
        ('{"name": "onnx", "a": [1, 2]},nanodet', ['{"name": "onnx", "a": [1, 2]}', "nanodet"]),
        ('"a,b",c', ['"a,b"', "c"]),
    ],
)
def test_values_are_split_outside_of_brackets(text: str, values: list[str]) -> None:
    assert split_values(text) == values
