"""CtP, *Catch the Patch* (Wang et al., CVPR 2021): follow pasted patches through a clip.

Patches are cut from a clip and pasted back along synthetic trajectories; given only their
boxes in the first frame, the encoder must tell their boxes in all frames.

Notes
-----
Behaviour after specs/ctp.md. Departures: the pixel constants scale with the size of the
trajectory bank, and the head's temporal kernel is T/8 long (2 for the paper's 16 frames),
so that small machines can train with 8 frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.parameters import OWN, constant
from pipeline.pictures import draw_boxes, strip
from stages.learning.clips import sample_clip
from stages.learning.method import Method, Step
from stages.learning.sample import Sample
from stages.learning.views import CropAndFlip, resized
from storage_schemas.errors import ParameterError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.learning.objective import Objective

_RUNTIME, _HEAD = "CtP code: pretraining_runtime_ucf.py", "CtP code: ctp_head.py"
_SHORT_SIDES = (1.0, 128 / 112, 144 / 112)  # of the crop's side


class CtP(Method, version=3):
    """Hyper-parameters; the defaults are the reference's (ctp.md sections 2-4).

    ``paste_on`` says who pastes: the loader's workers, clip by clip, or the training device,
    a batch at a time. Both give the same bytes (docs/decisions/0011).

    ``patch_gain`` brightens or darkens each patch by this factor's exponential, at random. The
    reference does not (0): there a patch differs from what it covers only as far as it has
    moved, which a short training does not learn from (docs/quality.md).

    ``initial_std`` is of the head's fully connected layers. The reference's 0.001 holds a
    short training on a plateau: gradients reach the encoder scaled by its square.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"trajectories"})
    encoder_options: ClassVar[Mapping[str, int]] = {"last_spatial_stride": 1}
    form_from: ClassVar[str] = "CtP supplement and code"

    num_frames: int = constant(16, _RUNTIME, ge=8, multiple_of=8)
    size: int = constant(112, _RUNTIME, ge=32)
    strides: tuple[int, ...] = constant((1, 2, 3, 4, 5), _RUNTIME)
    flip_probability: float = constant(0.5, _RUNTIME, ge=0, le=1)
    colour: bool = constant(True, _RUNTIME)
    patch_gain: float = constant(0.0, "CtP code: none", ge=0, le=2)
    paste_on: Literal["worker", "device"] = constant("worker", OWN)
    hidden: int = constant(512, _HEAD, ge=1)
    roi_bins: int = constant(5, _HEAD, ge=1)
    initial_std: float = constant(0.001, _HEAD, gt=0)
    centre_scale: float = constant(0.8, _HEAD, gt=0)
    size_scale: float = constant(0.04, _HEAD, gt=0)

    def consequences(self) -> Iterable[tuple[str, Any, str]]:
        """The encoder's form, and the sizes that frames are shrunk to before they are cut."""
        yield from super().consequences()
        yield "short_sides", [round(self.size * share) for share in _SHORT_SIDES], _RUNTIME

    def views(self, sample: Sample, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
        """``clip`` (T, S, S, 3) uint8 with patches, ``boxes`` (K, T, 4) float32 in pixels.

        Where the device pastes, the clip is clean and the patches are described beside it.
        """
        from stages.learning.paste import describe, paste_patches

        bank = sample.trajectories
        assert bank is not None
        if (bank.num_frames, bank.size) != (self.num_frames, self.size):
            raise ParameterError(
                f"pretrain.method has {self.num_frames} frames of {self.size} pixels, but the "
                f"trajectories have {bank.num_frames} of {bank.size}; set synthesize.num_frames="
                f"{self.num_frames} and synthesize.size={self.size}"
            )
        frames = sample.frames
        indices = sample_clip(
            rng, length=len(frames), num_frames=self.num_frames, strides=self.strides
        )
        short_side = round(bank.size * float(rng.choice(_SHORT_SIDES)))
        geometry = CropAndFlip.sample(
            rng,
            resized_to=resized(frames.height, frames.width, short_side),
            size=bank.size,
            flip_probability=self.flip_probability,
        )
        clip_THWC = geometry.apply(frames.decode(indices))
        patches = bank[int(rng.integers(len(bank)))]
        boxes = patches.boxes_KT4.astype(np.float32)
        gain_K = None
        if self.patch_gain > 0:
            gain_K = np.exp(self.patch_gain * rng.choice([-1, 1], len(boxes)))
        if self.paste_on == "device":
            return {
                "clip": np.ascontiguousarray(clip_THWC),
                "boxes": boxes,
                **describe(patches, gain_K=gain_K),
            }
        return {"clip": paste_patches(clip_THWC, patches, gain_K=gain_K), "boxes": boxes}

    def heads(self, encoder: nn.Module) -> Mapping[str, nn.Module]:
        """Temporal squeeze and box regressor (ctp.md section 4.2)."""
        from torch import nn

        channels = int(encoder.out_channels)  # type: ignore[arg-type]
        squeeze = nn.Conv3d(channels, channels, (self.num_frames // 8, 1, 1))
        nn.init.kaiming_normal_(squeeze.weight, mode="fan_out", nonlinearity="relu")
        first = nn.Linear(channels * self.roi_bins**2, self.hidden)
        last = nn.Linear(self.hidden, self.num_frames * 4)
        for layer in (first, last):
            nn.init.normal_(layer.weight, std=self.initial_std)
        for bias in (squeeze.bias, first.bias, last.bias):
            assert bias is not None
            nn.init.zeros_(bias)
        return {"squeeze": squeeze, "boxes": nn.Sequential(nn.Flatten(), first, nn.ReLU(), last)}

    def loss(
        self, objective: Objective, batch: Mapping[str, Tensor], generator: np.random.Generator
    ) -> Step:
        """Smooth-L1 between predicted and true motion of each patch."""
        import torch

        from stages.learning.box_iou import box_iou
        from stages.learning.paste_batch import paste_batch
        from stages.learning.photometric import ctp_colour
        from stages.learning.pixels import normalise

        clips = batch["clip"]
        if self.paste_on == "device":
            clips = paste_batch(clips, batch)
        if self.colour:
            clips = ctp_colour(clips, generator)
        boxes_NT4 = batch["boxes"].flatten(0, 1)
        prediction_NT4 = self.predict(objective, normalise(clips), batch["boxes"][:, :, 0])
        target_NT4 = encode_motion(
            boxes_NT4, centre_scale=self.centre_scale, size_scale=self.size_scale
        )
        residual = torch.nn.functional.smooth_l1_loss(
            prediction_NT4, target_NT4, reduction="none", beta=1.0
        )
        entries = residual.shape[0] * residual.shape[1]
        centre, size = residual[..., :2].sum() / entries, residual[..., 2:].sum() / entries
        with torch.no_grad():
            found = decode_motion(
                prediction_NT4,
                boxes_NT4[:, 0],
                centre_scale=self.centre_scale,
                size_scale=self.size_scale,
            )
            iou = box_iou(found, boxes_NT4).mean()
        return Step(
            loss=centre + size,
            metrics={"centre": centre.detach(), "size": size.detach(), "iou": iou},
        )

    def predict(self, objective: Objective, clips_BCTHW: Tensor, first_boxes_BK4: Tensor) -> Tensor:
        """Scaled motion (B*K, T, 4) of the patches whose first boxes are given, in pixels."""
        import torch

        from stages.learning.roi_align import roi_align

        features_BCHW = torch.relu(objective.heads["squeeze"](objective.encoder(clips_BCTHW)))
        features_BCHW = features_BCHW.squeeze(2)
        batch, patches, _ = first_boxes_BK4.shape
        index = torch.arange(batch, device=clips_BCTHW.device).repeat_interleave(patches)
        rois_N5 = torch.cat([index[:, None].to(first_boxes_BK4), first_boxes_BK4.flatten(0, 1)], 1)
        regions = roi_align(
            features_BCHW,
            rois_N5,
            output_size=self.roi_bins,
            spatial_scale=features_BCHW.shape[-1] / clips_BCTHW.shape[-1],
        )
        # In single precision also under autocast: bfloat16 has steps of 0.2 pixels here.
        with torch.autocast(regions.device.type, enabled=False):
            motion: Tensor = objective.heads["boxes"](regions.float())
        return motion.unflatten(1, (self.num_frames, 4))

    def to_follow(
        self, sample: Sample, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """A clip (T, S, S, 3) with patches, and their boxes (K, T, 4)."""
        views = self.model_copy(update={"paste_on": "worker"}).views(sample, rng)
        return views["clip"].astype(np.uint8), views["boxes"].astype(np.float32)

    def follow(self, objective: Objective, clips_NTHWC: Tensor, first_boxes_NK4: Tensor) -> Tensor:
        """Boxes (N, K, T, 4) of what the first frames show in `first_boxes_NK4`."""
        from stages.learning.pixels import normalise

        boxes = decode_motion(
            self.predict(objective, normalise(clips_NTHWC), first_boxes_NK4),
            first_boxes_NK4.flatten(0, 1),
            centre_scale=self.centre_scale,
            size_scale=self.size_scale,
        )
        return boxes.unflatten(0, first_boxes_NK4.shape[:2])

    def picture(self, views: Mapping[str, NDArray[np.generic]]) -> NDArray[np.uint8]:
        """Strip of the composite clip with the true boxes."""
        clip = views["clip"].astype(np.uint8)
        if self.paste_on == "device":
            import torch

            from stages.learning.paste_batch import paste_batch

            batch = {name: torch.from_numpy(values)[None] for name, values in views.items()}
            clip = paste_batch(batch["clip"], batch)[0].numpy()
        chosen = np.linspace(0, len(clip) - 1, 4).astype(int)
        patches = range(len(views["boxes"]))
        return strip(
            [
                draw_boxes(clip[t], views["boxes"][:, t].astype(np.float32), ids=list(patches))
                for t in chosen
            ]
        )


def encode_motion(boxes_NT4: Tensor, *, centre_scale: float, size_scale: float) -> Tensor:
    """Regression targets (N, T, 4): scaled centre offsets (pixels) and log size ratios."""
    import torch

    sides = (boxes_NT4[..., 2:] - boxes_NT4[..., :2]).clamp(min=1)
    centres = (boxes_NT4[..., 2:] + boxes_NT4[..., :2]) / 2
    return torch.cat(
        [
            (centres - centres[:, :1]) / centre_scale,
            torch.log(sides / sides[:, :1]) / size_scale,
        ],
        dim=-1,
    )


def decode_motion(
    motion_NT4: Tensor, first_N4: Tensor, *, centre_scale: float, size_scale: float
) -> Tensor:
    """Boxes (N, T, 4) in pixels from scaled motion and first-frame boxes."""
    import torch

    first = first_N4[:, None]
    sides = (first[..., 2:] - first[..., :2]).clamp(min=1)
    centres = (first[..., 2:] + first[..., :2]) / 2 + motion_NT4[..., :2] * centre_scale
    sides = sides * torch.exp(motion_NT4[..., 2:] * size_scale)
    return torch.cat([centres - sides / 2, centres + sides / 2], dim=-1)
