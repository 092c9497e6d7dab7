"""Pickled arrays: plain data comes back, anything else is refused before it runs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.sources.pickled_array import read_pickled_array


def save(path: Path, content: Any) -> Path:
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("shape", [(0, 5), (2, 5), (3,)])
def test_plain_data_come_back(tmp_path: Path, dtype: Any, shape: tuple[int, ...]) -> None:
    boxes = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    number = np.float64(0.25)
    path = save(tmp_path / "a.npy", {"class": {"id": {1: {"boxes": boxes, "score": number}}}})
    frame = read_pickled_array(path).item()["class"]["id"][1]
    np.testing.assert_array_equal(frame["boxes"], boxes, strict=True)
    assert frame["score"] == number


@pytest.mark.parametrize("protocol", [2, 3, 5])
def test_protocols_of_old_and_new_pythons(tmp_path: Path, protocol: int) -> None:
    content = np.array({"a": np.ones((1, 5), np.float32), "b": np.float32(2)}, dtype=object)
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        data = pickle.dumps(content, protocol=protocol)
        # NumPy 1 calls its own modules otherwise.
        if protocol == 2:
            data = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
        file.write(data)
    found = read_pickled_array(tmp_path / "a.npy").item()
    np.testing.assert_array_equal(found["a"], np.ones((1, 5)))
    assert found["b"] == 2


class _Evil:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", {"a": _Evil(tmp_path / "broken in")})
    with pytest.raises(ValueError, match=r"the pickle asks for posix\.mkdir"):
        read_pickled_array(path)
    assert not (tmp_path / "broken in").exists()


def test_files_of_other_kinds(tmp_path: Path) -> None:
    np.save(tmp_path / "numbers.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"numbers\.npy holds float64 of shape \(3,\), not Py"):
        read_pickled_array(tmp_path / "numbers.npy")
    (tmp_path / "text.npy").write_text("text")
    with pytest.raises(ValueError, match="magic string"):
        read_pickled_array(tmp_path / "text.npy")
    whole = save(tmp_path / "a.npy", {"a": np.zeros(99)}).read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:200])
    with pytest.raises(ValueError, match=r"a\.npy cannot be read"):
        read_pickled_array(tmp_path / "a.npy")
