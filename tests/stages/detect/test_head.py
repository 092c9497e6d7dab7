"""Cells, activations and tables in exact numbers."""

from __future__ import annotations

import numpy as np
import pytest

from stages.detect.head import activated, cells, rows_of
from storage_schemas.errors import ParameterError


def test_cells_cover_what_is_no_multiple_of_the_stride() -> None:
    centre, stride = cells((8, 64), height=96, width=416)
    assert len(centre) == 12 * 52 + 2 * 7
    assert centre[0].tolist() == [4, 4]
    assert centre[53].tolist() == [12, 12]
    assert centre[-1].tolist() == [6.5 * 64, 1.5 * 64]
    assert stride[[0, -1], 0].tolist() == [8, 64]


def test_activations() -> None:
    values = np.array([[-200, 0, 200]], np.float32)  # far out: no overflow
    assert activated(values, "none") is values
    assert activated(values, "sigmoid").tolist() == [[0, 0.5, 1]]
    assert activated(values, "softmax").tolist() == [[0, 0, 1]]
    even = activated(np.full((2, 4), 1000, np.float32), "softmax")
    np.testing.assert_array_equal(even, np.full((2, 4), 0.25, np.float32), strict=True)


@pytest.mark.parametrize("shape", [(3, 7), (1, 3, 7), (1, 1, 3, 7), (1, 0, 7), (1, 7)])
def test_an_output_is_a_table(shape: tuple[int, ...]) -> None:
    output = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(rows_of(output, "o"), output.reshape(-1, 7), strict=True)


@pytest.mark.parametrize("shape", [(7,), (2, 3, 7), (1, 2, 3, 7)])
def test_another_output_is_told(shape: tuple[int, ...]) -> None:
    with pytest.raises(ParameterError, match=r"'o' of shape .* is no table .* head\.style, or an"):
        rows_of(np.zeros(shape, np.float32), "o")
