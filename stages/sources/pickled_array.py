"""Arrays of Python objects that others saved with ``numpy.save``: pickles, read with care.

A pickle may call any function. Here it may build arrays, numbers, texts and plain
containers, and nothing else; see docs/decisions/0018-data-sets.md.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ALLOWED = frozenset(
    [
        ("_codecs", "encode"),
        ("builtins", "dict"),
        ("builtins", "list"),
        ("collections", "OrderedDict"),
        ("collections", "defaultdict"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
    ]
)
_OLD_NAMES = {"__builtin__": "builtins"}  # of Python 2


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = _OLD_NAMES.get(module, module).replace("numpy.core.", "numpy._core.")
        if (module, name) not in _ALLOWED:
            raise ValueError(f"the pickle asks for {module}.{name}, which no plain data needs")
        return super().find_class(module, name)


def read_pickled_array(path: Path) -> NDArray[Any]:
    """The array of an ``.npy`` file of objects.

    Raises
    ------
    ValueError
        If the file is of another kind, or would run code.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise ValueError(f"{path.name} is .npy of version {version}, not 1.0 or 2.0")
        shape, _, dtype = read_header(file)
        if not dtype.hasobject:
            raise ValueError(f"{path.name} holds {dtype} of shape {shape}, not Python objects")
        try:
            array = _Unpickler(file, encoding="latin1").load()
        except (pickle.UnpicklingError, EOFError, TypeError, KeyError, IndexError) as error:
            raise ValueError(f"{path.name} cannot be read: {error}") from error
    return np.asarray(array, object).reshape(shape)
