"""What a pretraining method is: hyper-parameters, the views of a sample, and a loss.

A method is one file in ``stages/pretrain/methods``; its name is its module's name. The
file imports torch inside functions only, so that planning a run stays fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipeline.parameters import OWN
from pipeline.variant import Variant
from stages.learning.sample import Sample
from stages.learning.standardisation import IMAGENET, Standardisation

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.learning.objective import Objective


@dataclass
class Step:
    """Result of an objective on a batch.

    Parameters
    ----------
    loss : Tensor
        What to minimise.
    metrics : dict of str -> Tensor
        What to log.
    keep : dict of str -> Tensor
        What `Method.after_step` needs, such as the keys for a queue; without gradients.
    """

    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
    keep: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class PairMap:
    """Where one of two clips of a video resembles the other, or a region of it.

    Parameters
    ----------
    kind : str
    clip : {0, 1}
        Which clip the map lies over.
    values_THW : Tensor
    text : str
        What is to be told beside it.
    covers : (float, float)
        Part of the clip's length that the cells are spread over.
    of_box : bool
        Whether it is of the box in the middle frame of the other clip.
    """

    kind: str
    clip: int
    values_THW: Tensor
    text: str = ""
    covers: tuple[float, float] = (0.0, 1.0)
    of_box: bool = False


class Method(Variant):
    """Base of all methods.

    ``needs`` names the annotation inputs of the ``pretrain`` stage that the method reads;
    changing any other annotation does not retrain it. ``encoder_options`` is the form in
    which the encoder is pretrained, and ``synchronised_batch_norm`` says whether statistics
    are shared by the devices; ``form_from`` is the source of both.
    """

    package: ClassVar[str] = "stages.pretrain.methods"
    carried: ClassVar[frozenset[str]] = frozenset({"num_frames", "size"})
    needs: ClassVar[frozenset[str]] = frozenset()
    encoder_options: ClassVar[Mapping[str, Any]] = {}
    synchronised_batch_norm: ClassVar[bool] = True
    form_from: ClassVar[str] = OWN

    def consequences(self) -> Iterable[tuple[str, Any, str]]:
        """The form in which an encoder is pretrained."""
        yield "synchronised_batch_norm", self.synchronised_batch_norm, self.form_from
        for name, value in self.encoder_options.items():
            yield f"encoder_options.{name}", value, self.form_from

    def reads(self) -> frozenset[str]:
        """Those of ``needs`` that it reads with its settings; all of them unless overridden."""
        return self.needs

    @property
    def trains_encoder(self) -> bool:
        """Whether the encoder learns; else its weights and batch statistics stay as they are."""
        return True

    @property
    def standardisation(self) -> Standardisation:
        """Of the encoder's input, in evaluation too: fields ``mean``, ``std``, or ImageNet's."""
        return Standardisation(
            getattr(self, "mean", IMAGENET.mean), getattr(self, "std", IMAGENET.std)
        )

    def views(self, sample: Sample, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
        """Arrays that make one training example; pure, runs in a CPU worker.

        Geometry is sampled first and then applied to pixels and boxes together. Clips are
        uint8 of shape (T, H, W, 3).
        """
        raise NotImplementedError

    def heads(self, encoder: nn.Module) -> Mapping[str, nn.Module]:
        """Modules besides the encoder, by name: projectors, momentum copies, queues."""
        raise NotImplementedError

    def loss(
        self, objective: Objective, batch: Mapping[str, Tensor], generator: np.random.Generator
    ) -> Step:
        """Loss of a batch on its device.

        Parameters
        ----------
        objective : Objective
            Holds ``encoder`` and ``heads``.
        batch : mapping of str -> Tensor
            Stacked `views`.
        generator : numpy Generator
            Seeded by (seed, step), the same on all ranks: draw for the global batch and
            take the rows of `stages.learning.distributed.local_rows`.

        Notes
        -----
        Changes no state: what a step leaves behind is changed by `after_step`.
        """
        raise NotImplementedError

    def after_step(self, objective: Objective, step: Step) -> None:
        """What follows an optimiser step: momentum update, queue."""
        return None

    def picture(self, views: Mapping[str, NDArray[np.generic]]) -> NDArray[np.uint8] | None:
        """RGB picture of the views of one sample, for the report."""
        return None


@runtime_checkable
class FollowsBoxes(Protocol):
    """A method whose trained heads tell where boxes of the first frame go (CtP)."""

    num_frames: int
    size: int

    def to_follow(
        self, sample: Sample, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """A clip (T, S, S, 3) as in training, and boxes (K, T, 4) in its pixels."""
        ...

    def follow(self, objective: Objective, clips_NTHWC: Tensor, first_boxes_NK4: Tensor) -> Tensor:
        """Boxes (N, K, T, 4) in pixels, from clips of uint8 and the boxes of first frames."""
        ...


@runtime_checkable
class ExpectsRegions(Protocol):
    """A method whose trained heads tell what a region looks like in another view (ConST-CL)."""

    def expect_regions(
        self, objective: Objective, map_ACTHW: Tensor, boxes_B2N4: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What regions of a view should look like in the other one, and what regions do.

        Parameters
        ----------
        objective : Objective
        map_ACTHW : Tensor
            Region maps of all B first views, then of all second ones.
        boxes_B2N4 : Tensor
            As fractions of the views.

        Returns
        -------
        expected_B2NC, regions_B2NC : Tensor
        """
        ...


@runtime_checkable
class ShowsMaps(Protocol):
    """A method whose trained heads tell where clips are alike (RSPNet, PreViTS, ConST-CL)."""

    def maps(self, objective: Objective, pixels_2CTHW: Tensor, box_4: Tensor) -> Iterable[PairMap]:
        """Maps of two clips of a video.

        Parameters
        ----------
        objective : Objective
            Of this method, with the heads of a training.
        pixels_2CTHW : Tensor
            Standardised.
        box_4 : Tensor
            In the middle frame of the first clip, as fractions of the view.
        """
        ...
