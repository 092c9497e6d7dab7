"""Each trouble is told with its exact fix; what is fine is not mentioned."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from workflows.doctor import (
    find_conflicts,
    find_cuda_problems,
    find_opencv_clash,
    find_problems,
)

OURS = {"pipeline": ["tubelet"], "stages": ["tubelet"], "cv2": ["opencv-contrib-python-headless"]}


def test_opencv() -> None:
    assert list(find_opencv_clash(OURS)) == []
    (found,) = find_opencv_clash({"cv2": ["opencv-python", "opencv-contrib-python-headless"]})
    assert "two wheels write into one folder" in found
    assert found.endswith(
        "pip uninstall -y opencv-contrib-python-headless opencv-python && pip install "
        "opencv-contrib-python-headless"
    )
    (found,) = find_opencv_clash({})
    assert found == "OpenCV comes from no wheel: pip install opencv-contrib-python-headless"


def test_conflicts() -> None:
    needs = ["prefect<3.9,>=3.8", "fastapi<0.151", "numpy>=2.4", "ray; extra == 'ray'"]
    good = {"prefect": "3.8.8", "fastapi": "0.150.0", "numpy": "2.4.6"}
    assert list(find_conflicts(needs, good)) == []
    (found,) = find_conflicts(needs, good | {"fastapi": "0.151.2"})
    assert found == (
        "fastapi 0.151.2 is installed, tubelet needs <0.151 (the server of Prefect 3.8 fails with "
        "a newer one: Body() got an unexpected keyword argument): pip install 'fastapi<0.151'"
    )
    (found,) = find_conflicts(needs, {k: v for k, v in good.items() if k != "numpy"})
    assert found == "numpy is not installed: pip install 'numpy>=2.4'"


def test_what_we_require_is_checked() -> None:
    assert any("fastapi" in text for text in importlib.metadata.requires("tubelet") or [])


H200 = ("NVIDIA H200", "570.124.06")


@pytest.mark.parametrize(
    ("wheel", "gpus", "visible", "said"),
    [
        (None, [], None, None),
        ("12.8", [H200], None, None),
        ("12.8", [H200], "0", None),
        (None, [H200], None, r"built for the CPU: pip install .* torch .*/whl/cu126$"),
        (
            "13.0",
            [H200],
            None,
            r"CUDA 13.0, which needs driver 580.65.06 or newer, and NVIDIA H200 has driver "
            r"570.124.06: install a newer driver, or pip install .*/whl/cu126$",
        ),
        ("12.8", [("GTX", "390.1")], None, r"needs driver 525.60.13 .*: install a newer driver$"),
        ("12.8", [H200], "", r"CUDA_VISIBLE_DEVICES='' hides NVIDIA H200: unset"),
    ],
)
def test_cuda(
    wheel: str | None, gpus: list[tuple[str, str]], visible: str | None, said: str | None
) -> None:

    found = list(find_cuda_problems(wheel, gpus, visible))
    assert len(found) == (said is not None)
    assert said is None or re.search(said, found[0])


def test_this_installation(tmp_path: Path) -> None:
    assert [one for one in find_problems(tmp_path / "store") if "port" not in one] == []


def test_distributions_that_clash(tmp_path: Path) -> None:
    """Real metadata on the path, as pip would have left it."""
    for name, version, package in (
        ("opencv-python", "4.12.0", "cv2"), ("fastapi", "0.151.0", "fastapi"),
        ("mlpipe", "1.0", "stages"),
    ):  # fmt: skip
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        (folder / "top_level.txt").write_text(package)
    done = subprocess.run(
        [sys.executable, "-c", "from workflows.entry import main; main()",
         "doctor", "--store", str(tmp_path / "store")],
        capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": f"{Path(__file__).parents[2]}:{tmp_path}"},
    )  # fmt: skip
    assert done.returncode == 1
    out = done.stdout
    assert "problem: mlpipe also installs a package 'stages': pip uninstall -y mlpipe" in out
    assert "problem: OpenCV comes from opencv-contrib-python-headless, opencv-python; two" in out
    assert "problem: fastapi 0.151.0 is installed, tubelet needs <0.151" in out
