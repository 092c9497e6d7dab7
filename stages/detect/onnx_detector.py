"""Any detection network in an ONNX file: image in, candidates out, by one typed spec."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.detect.detector import Detections, Detector
from stages.detect.head import Array, Head, Outputs
from stages.detect.network_input import InputSpec
from storage_schemas.errors import ParameterError

Runtime = Literal["onnxruntime", "opencv"]
Network = Callable[[NDArray[Any]], Outputs]


class OnnxDetector(Detector):
    """Base of the detectors that run an ONNX file; a choice says which file, and its spec.

    Parameters
    ----------
    candidates : int
        Best pairs of a place and a class that an image keeps before thresholds and NMS.
    runtime : {"onnxruntime", "opencv"}
        "opencv" is half as fast; scores differ in the fifth decimal place.
    """

    package: ClassVar[str] = Detector.package  # a kind of detectors, itself no choice

    candidates: int = Field(300, ge=1)
    runtime: Runtime = "onnxruntime"

    def file(self) -> Path:
        """The ONNX file."""
        raise NotImplementedError

    def spec(self) -> tuple[InputSpec, Head]:
        """What goes in and what comes out."""
        raise NotImplementedError

    def classes(self) -> Sequence[str]:
        raise NotImplementedError

    def detect(
        self, images_NHWC: NDArray[np.uint8], *, threads: int = 1, device: str = "auto"
    ) -> list[Detections]:
        """Detections of each image, one at a time: a batch is no faster on a CPU."""
        entry, head = self.spec()
        network = load_network(
            self.file(), self.runtime, outputs=head.names(), threads=threads, device=device
        )
        return [self._detect_one(image, network, entry, head) for image in images_NHWC]

    def _detect_one(
        self, image_HWC: NDArray[np.uint8], network: Network, entry: InputSpec, head: Head
    ) -> Detections:
        outputs = network(entry.prepare(image_HWC))
        names = self.classes()
        score_NC = head.scores(outputs, classes=len(names))
        rows, numbers = best_pairs(score_NC, self.candidates)
        box_K4 = head.boxes(outputs, rows, height=entry.height, width=entry.width)
        height, width = image_HWC.shape[:2]
        return Detections(
            xyxy=entry.back(box_K4, height=height, width=width),
            scores=score_NC[rows, numbers],
            labels=[names[c] for c in numbers],
        )


def best_pairs(score_NC: Array, count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of the `count` best scores, best first.

    A row may come with several columns: where two classes are equally likely, both are
    candidates.
    """
    # The best pairs lie in the rows with the best maxima, so most rows need no sorting.
    rows = np.argsort(-score_NC.max(axis=1, initial=0), kind="stable")[:count]
    flat = score_NC[rows].ravel()
    if len(flat) > count:
        kept = np.flatnonzero(flat >= np.partition(flat, -count)[-count])
    else:
        kept = np.arange(len(flat))
    best = kept[np.argsort(-flat[kept], kind="stable")][:count]
    row, column = np.divmod(best, score_NC.shape[1])
    return rows[row], column


@lru_cache(maxsize=4)
def load_network(
    path: Path, runtime: Runtime, *, outputs: tuple[str, ...], threads: int, device: str
) -> Network:
    """A network, once a process: batch of one image -> the named outputs, float32.

    With onnxruntime, `threads` bounds its pool, and a GPU is used where ``onnxruntime-gpu``
    is installed and `device` is not ``cpu``. OpenCV's threads are the process's.

    Raises
    ------
    ParameterError
        If the file cannot be read, has other outputs, or takes another input.
    """
    load = _load_onnxruntime if runtime == "onnxruntime" else _load_opencv
    try:
        known, forward = load(path, threads, device)
    except Exception as error:  # neither runtime has an exception of its own for this
        raise ParameterError(f"{path} cannot be loaded by {runtime}: {error}") from error
    wanted = known if outputs == ("",) and len(known) == 1 else list(outputs)
    missing = [name for name in wanted if name not in known]
    if missing:
        raise ParameterError(
            f"{path} has outputs {known}, not {missing[0]!r}; name its outputs in the head"
        )

    def network(batch: NDArray[Any]) -> Outputs:
        try:
            found = forward(wanted, batch)
        except Exception as error:
            raise ParameterError(
                f"{path} does not run on an input of shape {batch.shape}, {batch.dtype}: "
                f"{error}; set input.height, input.width, input.layout or input.dtype"
            ) from error
        return {name: np.asarray(one, np.float32) for name, one in zip(outputs, found, strict=True)}

    return network


Forward = Callable[[list[str], NDArray[Any]], Sequence[NDArray[Any]]]


def _load_onnxruntime(path: Path, threads: int, device: str) -> tuple[list[str], Forward]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Waiting threads sleep: others may use the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        number = int(device.partition(":")[2] or 0)
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": number}))
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    (entry, *more) = [one.name for one in session.get_inputs()]
    if more:
        raise ValueError(f"it has {1 + len(more)} inputs, {[entry, *more]}; export it with one")

    def forward(names: list[str], batch: NDArray[Any]) -> Sequence[NDArray[Any]]:
        return cast(Sequence[NDArray[Any]], session.run(names, {entry: batch}))

    return [one.name for one in session.get_outputs()], forward


def _load_opencv(path: Path, threads: int, device: str) -> tuple[list[str], Forward]:
    import cv2

    net = cv2.dnn.readNetFromONNX(str(path))
    known = list(net.getUnconnectedOutLayersNames())

    def forward(names: list[str], batch: NDArray[Any]) -> Sequence[NDArray[Any]]:
        net.setInput(batch)
        found = net.forward(known)  # it refuses to give some of them only
        return [found[known.index(name)] for name in names]

    return known, forward
