"""FAME (Ding et al., CVPR 2022): a moving foreground over another video's background.

One view of a video gets the background of another video, the other view stays as it is;
MoCo must find that they are of one video. What both share is the moving foreground.

Notes
-----
Behaviour after specs/fame.md. Departures: videos shorter than a clip are looped where the
reference reads on into the next video, and backgrounds are exchanged in groups of a fixed
size, so that a training does not depend on the number of devices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.marks import Mark, draw_marks
from pipeline.parameters import OWN, cited, constant
from pipeline.pictures import caption, stack, strip
from stages.learning.clips import sample_window
from stages.learning.colour import ColourLaw
from stages.learning.foreground import Foreground
from stages.learning.method import Method, Step
from stages.learning.momentum_contrast import MomentumContrast
from stages.learning.pair_views import picture_pair, sample_view, usual_crop
from stages.learning.sample import Sample

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.learning.objective import Objective

_QUEUE = 65536
_WINDS = "FAME code: moco/loader.py"
_BACKGROUND = 5  # blue in the palette


class FAME(Method, version=1):
    """Hyper-parameters (fame.md sections 2 to 4).

    Parameters
    ----------
    preset : {"paper", "reference", "intended"}
        "paper" is what was published, less the released code's slips. "reference" keeps
        them: the second pass meets its own keys in the queue, the blur of colours has one
        deviation for a whole training, and contrast pulls towards each frame's luma.
        "intended" is "paper" with a hue that winds round its circle once.
    num_frames, frame_stride : int
        Of a view.
    size : int
        Side of a view in pixels.
    crop_area : (float, float)
        Share of the frame that a view is cut from.
    foreground : Foreground
    group : int or None
        Backgrounds are exchanged among so many neighbours of a batch, never across devices;
        None for all clips of a device. The paper had 8 clips on each of 8 devices.
    keep_own : bool
        Whether a clip may draw its own background, which one of a group does on average.
    order : {"merge_first", "colour_first"}
        Whether colours are changed after merging, in foreground and background alike, or
        before, in each by its own draw. Masks always come from unchanged colours.
    contrast : MomentumContrast
        The paper's queue is 65536 keys for Kinetics-400, 2048 for UCF101.
    colour : bool
        Whether `colour_law` is applied.
    colour_law : ColourLaw
    frozen_blur : bool
        Draw the deviation of the colour blur once a training instead of for each clip.
    mean, std : (float, float, float)
        Of the channels in 0..1; the defaults are those of Kinetics-400.
    """

    synchronised_batch_norm: ClassVar[bool] = False  # shuffled batches take its place
    form_from: ClassVar[str] = "FAME code: shuffled batches"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "foreground": {"hue": cited("reference", _WINDS)},
            "contrast": {"reread_queue": cited(False, "FAME supplement")},
            "colour_law": {"contrast_around": cited("luma", "tubelet; one factor a clip")},
            "frozen_blur": cited(False, "FAME supplement"),
        },
        "reference": {
            "foreground": {"hue": cited("reference", _WINDS)},
            "contrast": {"reread_queue": cited(True, "FAME code: moco/builder.py")},
            "colour_law": {"contrast_around": cited("frame_luma", "FAME code: kornia")},
            "frozen_blur": cited(True, "FAME code: moco/loader.py"),
        },
        "intended": {
            "foreground": {"hue": cited("intended", "tubelet; a hue winds once")},
            "contrast": {"reread_queue": cited(False, "FAME supplement")},
            "colour_law": {"contrast_around": cited("luma", "tubelet; one factor a clip")},
            "frozen_blur": cited(False, "FAME supplement"),
        },
    }

    preset: Literal["paper", "reference", "intended"] = constant("paper", OWN)
    num_frames: int = constant(16, "FAME code: dataset", ge=2)
    frame_stride: int = constant(2, "FAME code: dataset", ge=1)
    size: int = constant(112, "FAME code: R(2+1)D; 224 for I3D", ge=32)
    crop_area: tuple[float, float] = constant((0.2, 1.0), "FAME code: moco/loader.py")
    foreground: Foreground = constant(Foreground(), "FAME code: moco/loader.py")
    group: int | None = constant(8, "FAME README: 64 clips on 8 devices", ge=1)
    keep_own: bool = constant(True, "FAME code: moco/loader.py")
    order: Literal["merge_first", "colour_first"] = constant(
        "merge_first", "FAME code: moco/loader.py"
    )
    contrast: MomentumContrast = constant(
        MomentumContrast(queue_size=_QUEUE), "FAME supplement: Kinetics-400"
    )
    colour: bool = constant(True, "FAME code: moco/loader.py")
    colour_law: ColourLaw = constant(ColourLaw(), "FAME supplement and code")
    frozen_blur: bool = constant(False, "FAME supplement")
    mean: tuple[float, float, float] = constant(
        (0.43216, 0.394666, 0.37645), "FAME code: moco/loader.py"
    )
    std: tuple[float, float, float] = constant(
        (0.22803, 0.22145, 0.216989), "FAME code: moco/loader.py"
    )

    def consequences(self) -> Iterable[tuple[str, Any, str]]:
        """The encoder's form and the crop."""
        yield from super().consequences()
        yield from usual_crop("FAME code: moco/loader.py")

    def idle(self) -> frozenset[str]:
        """What concerns colours that are not changed."""
        return frozenset() if self.colour else frozenset({"colour_law", "frozen_blur"})

    def views(self, sample: Sample, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
        """``first``, which will be merged, and ``second``: (T, S, S, 3), uint8, of one video."""
        length = len(sample.frames)

        def window() -> NDArray[np.int64]:
            return sample_window(
                rng, length=length, num_frames=self.num_frames, stride=self.frame_stride
            )

        first, second = window(), window()
        while length > (self.num_frames - 1) * self.frame_stride + 1 and first[0] == second[0]:
            second = window()
        return {
            name: sample_view(
                sample.frames, rng, indices=indices, size=self.size, area=self.crop_area
            )
            for name, indices in (("first", first), ("second", second))
        }

    def heads(self, encoder: nn.Module) -> Mapping[str, nn.Module]:
        """MoCo's heads, and the deviation of a frozen blur, which a checkpoint must hold."""
        heads = self.contrast.heads(encoder)
        if self.frozen_blur:
            import torch

            blur = torch.nn.Module()
            blur.register_buffer("sigma", torch.empty(()).uniform_(*self.colour_law.blur_sigma))
            heads["blur"] = blur
        return heads

    def loss(
        self, objective: Objective, batch: Mapping[str, Tensor], generator: np.random.Generator
    ) -> Step:
        """Contrast of the merged first view and the second."""
        from stages.learning.pixels import standardise, to_unit

        first, second = to_unit(batch["first"]), to_unit(batch["second"])
        merged = self.merge(objective, first, generator)
        second = self._recolour(objective, second, generator)
        views = [standardise(clips, mean=self.mean, std=self.std) for clips in (merged, second)]
        return self.contrast.step(objective, views[0], views[1], generator)

    def merge(
        self, objective: Objective, clips_BCTHW: Tensor, generator: np.random.Generator
    ) -> Tensor:
        """The first view as the encoder sees it: backgrounds exchanged, colours changed."""
        from stages.learning.foreground_mask import foreground_masks, merge

        masks = foreground_masks(clips_BCTHW, self.foreground)
        background = self.backgrounds(generator, batch=len(clips_BCTHW)).tolist()
        if self.order == "merge_first":
            merged = merge(clips_BCTHW, masks, background)
            return self._recolour(objective, merged, generator)
        return merge(self._recolour(objective, clips_BCTHW, generator), masks, background)

    def backgrounds(self, generator: np.random.Generator, *, batch: int) -> NDArray[np.int64]:
        """Whose background each of this rank's `batch` clips gets, as a row of this rank.

        Permutations are drawn for all ranks, so that groups that fill a device's share of
        the batch are the same for any number of devices.
        """
        from stages.learning.distributed import local_rows, world_size

        size = min(self.group or batch, batch)
        starts = [first for _ in range(world_size()) for first in range(0, batch, size)]
        drawn = [
            start + permutation(generator, min(size, batch - start), fixed_points=self.keep_own)
            for start in starts
        ]
        return np.concatenate(drawn)[local_rows(batch)]

    def _recolour(
        self, objective: Objective, clips_BCTHW: Tensor, generator: np.random.Generator
    ) -> Tensor:
        from stages.learning.photometric import augment

        if not self.colour:
            return clips_BCTHW
        law = self.colour_law
        if self.frozen_blur:
            sigma = float(objective.heads["blur"].sigma)  # type: ignore[arg-type]
            law = law.model_copy(update={"blur_sigma": (sigma, sigma)})
        return augment(clips_BCTHW, law, generator)

    def after_step(self, objective: Objective, step: Step) -> None:
        """Queue and twin."""
        self.contrast.after_step(objective, step)

    def picture(self, views: Mapping[str, NDArray[np.generic]]) -> NDArray[np.uint8]:
        """Both views before colours are changed, and what of the first is background."""
        import torch

        from stages.learning.foreground_mask import foreground_masks
        from stages.learning.pixels import to_unit

        clip = views["first"].astype(np.uint8)
        mask = foreground_masks(to_unit(torch.from_numpy(clip)[None]), self.foreground)[0]
        tinted = [
            draw_marks(clip[t], [Mark(colour=_BACKGROUND, mask_HW=~mask.numpy())])
            for t in np.linspace(0, len(clip) - 1, min(4, len(clip))).astype(int)
        ]
        return stack(
            [
                picture_pair(views["first"], views["second"]),
                caption(strip(tinted), "first view, what another video replaces in blue"),
            ]
        )


def permutation(
    generator: np.random.Generator, count: int, *, fixed_points: bool
) -> NDArray[np.int64]:
    """A uniform permutation of ``range(count)``; without `fixed_points` a uniform cycle."""
    order = generator.permutation(count)
    if fixed_points:
        return order
    cycle = np.empty_like(order)
    cycle[order] = np.roll(order, 1)
    return cycle
