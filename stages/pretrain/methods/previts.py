"""PreViTS (Chen et al., WACV 2023): clips that show the tracked object, and attention on it.

Views are drawn at times and places where an unsupervised tube shows its object, and the
encoder's Grad-CAM of finding the object in another view is pulled onto the object's mask.
The base is RSPNet on clips or MoCo on frames.

Notes
-----
Behaviour after specs/previts.md. Departures: accepted times are drawn from directly, not
by trial; the twin moves once a step; masks are averaged, not point-sampled, onto the
feature map; the attention pass sees the clips of the base loss, not a new draw of speeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.parameters import OWN, cited, constant
from pipeline.pictures import caption, stack, strip
from stages.learning.clips import sample_window
from stages.learning.colour import ALWAYS_JITTERED, ColourLaw
from stages.learning.covering_crop import Cover, sample_covering
from stages.learning.method import Method, PairMap, Step
from stages.learning.momentum_contrast import MomentumContrast, embed_keys
from stages.learning.pair_views import usual_crop
from stages.learning.relative_speed import RelativeSpeed, encode_keys
from stages.learning.sample import Sample
from stages.learning.views import ResizedCrop
from storage_schemas.boxes import Boxes
from storage_schemas.errors import ParameterError
from storage_schemas.frames import Frames

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.learning.objective import Objective


class PreViTS(Method, version=2):
    """Hyper-parameters (previts.md sections 4 to 6).

    Parameters
    ----------
    preset : {"paper", "reference"}
        "reference" is the code as published: crops must show a fifth of the object, maps
        are stretched before the ReLU, masks are point-sampled, and twins move twice a step.
    model : {"video", "image"}
        RSPNet on clips, or MoCo on single frames with a 2-D encoder.
    num_frames, size : int
        Of the clips that the encoder sees; the image model sees one frame.
    crop_area : (float, float)
    constrain_time, constrain_crop : bool
        Whether views are drawn when, and where, the object is seen.
    min_valid_frames : int
        Videos whose tube is sure in fewer frames are sampled as without PreViTS.
    min_valid_share : float
        The same as a share of the video's frames; the code's other choice is 0.5.
    max_gap : int or None
        Most frames between the middles of both views; the code's other choices are 90, 50
        and 0, which shows the same frames twice (CAST).
    min_tube_score : float
        Least score of a tube in a frame that counts as sure.
    min_cover : float
        Share of the object that a crop shows.
    cover : {"mask", "iou"}
        See `sample_covering`.
    attention_weight : float
        Of the attention loss; 0 trains with constrained sampling only.
    relu_first : bool
        See `similarity_map`.
    mask_pooling : {"area", "points"}
        See `shrink_mask`.
    relative : RelativeSpeed
        Of the video model.
    contrast : MomentumContrast
        Of the image model; its projector is linear.
    colour : bool
    colour_law : ColourLaw
    """

    needs: ClassVar[frozenset[str]] = frozenset({"tubes"})
    synchronised_batch_norm: ClassVar[bool] = False  # shuffled batches take its place
    form_from: ClassVar[str] = "PreViTS code, after RSPNet: shuffled batches"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "min_cover": cited(0.3, "PreViTS supplement: mu"),
            "relu_first": cited(True, "tubelet; as Grad-CAM is defined"),
            "mask_pooling": cited("area", "tubelet; keeps small objects"),
            "relative": {"momentum": cited(0.999, "PreViTS code, after RSPNet")},
            "contrast": {"momentum": cited(0.999, "PreViTS code: moco_2D")},
        },
        "reference": {
            "min_cover": cited(0.2, "PreViTS code: default"),
            "relu_first": cited(False, "PreViTS code: grad_cam_s3d.py"),
            "mask_pooling": cited("points", "PreViTS code: align_corners"),
            "relative": {"momentum": cited(0.999**2, "PreViTS code: 0.999, twice a step")},
            "contrast": {"momentum": cited(0.999**2, "PreViTS code: 0.999, twice a step")},
        },
    }

    preset: Literal["paper", "reference"] = constant("paper", OWN)
    model: Literal["video", "image"] = constant("video", OWN)
    num_frames: int = constant(16, "PreViTS code", ge=1)
    size: int = constant(224, "PreViTS supplement and code", ge=32)
    crop_area: tuple[float, float] = constant((0.4, 1.0), "PreViTS code")
    constrain_time: bool = constant(True, "PreViTS code: withSeg")
    constrain_crop: bool = constant(True, "PreViTS code: not nocc")
    min_valid_frames: int = constant(60, "PreViTS code: withSeg_thre", ge=1)
    min_valid_share: float = constant(0.0, "PreViTS code: off", ge=0, le=1)
    max_gap: int | None = constant(None, "PreViTS code: off", ge=0)
    min_tube_score: float = constant(0.5, OWN, ge=0, le=1)
    min_cover: float = constant(0.3, "PreViTS supplement: mu", ge=0, le=1)
    cover: Cover = constant(
        "mask", "PreViTS code, get_random_crop_coords_mask_cover; the patent says IoU"
    )
    attention_weight: float = constant(3.0, "PreViTS supplement: lambda; code: gw", ge=0)
    relu_first: bool = constant(True, OWN)
    mask_pooling: Literal["area", "points"] = constant("area", OWN)
    relative: RelativeSpeed = constant(RelativeSpeed(), "PreViTS code, after RSPNet")
    contrast: MomentumContrast = constant(
        MomentumContrast(
            dim=128,
            hidden=None,
            temperature=0.07,
            momentum=0.999,
            queue_size=65536,
            symmetric=False,
        ),
        "PreViTS code: moco_2D",
    )
    colour: bool = constant(True, "PreViTS code, after RSPNet")
    colour_law: ColourLaw = constant(ALWAYS_JITTERED, "PreViTS code, after RSPNet")

    def consequences(self) -> Iterable[tuple[str, Any, str]]:
        """The encoder's form and the crop."""
        yield from super().consequences()
        yield from usual_crop("PreViTS code, after RSPNet")

    def idle(self) -> frozenset[str]:
        """What the other model needs, and what is not done."""
        idle = {"relative", "num_frames"} if self.model == "image" else {"contrast"}
        if not self.attention_weight:
            idle |= {"relu_first", "mask_pooling"}
        if not self.constrain_crop:
            idle |= {"min_cover", "cover"}
        return frozenset(idle if self.colour else {*idle, "colour_law"})

    @property
    def window(self) -> int:
        """Consecutive frames that a view is drawn from."""
        return 1 if self.model == "image" else self.num_frames * self.relative.speed

    def views(self, sample: Sample, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
        """``query`` and ``key`` (T, S, S, 3), uint8; their masks (S, S); ``has_mask``."""
        assert sample.tubes is not None
        if sample.tubes.num_frames != len(sample.frames):
            raise ParameterError(
                f"tubes were made for {sample.tubes.num_frames} frames, the shard has "
                f"{len(sample.frames)}: bind both to the same decode",
                video_id=sample.frames.video_id,
            )
        rows = self._rows_by_frame(sample.tubes)
        drawn: dict[str, NDArray[np.generic]] = {}
        has_mask, near = bool(rows), None
        for name in ("query", "key"):
            indices = self._indices(rng, len(sample.frames), rows, near=near)
            near = int(indices[self.window // 2])
            clip, mask = self._view(sample, rng, rows, indices)
            drawn |= {name: clip, f"{name}_mask": mask}
            has_mask &= bool(mask.any())
        return {**drawn, "has_mask": np.uint8(has_mask)}  # type: ignore[dict-item]

    def _rows_by_frame(self, tubes: Boxes) -> dict[int, int]:
        """Frame -> row of the tube that is sure in most frames; empty if it has too few."""
        best: dict[int, int] = {}
        for track in [] if tubes.track is None else np.unique(tubes.track).tolist():
            frames = tubes.valid_frames(track, min_score=self.min_tube_score)
            if len(frames) > len(best):
                own = np.flatnonzero(tubes.track == track)
                row_of = dict(zip(tubes.frame[own].tolist(), own.tolist(), strict=True))
                best = {frame: row_of[frame] for frame in frames.tolist()}
        fewest = max(self.min_valid_frames, self.min_valid_share * tubes.num_frames)
        return best if len(best) >= fewest else {}

    def _indices(
        self, rng: np.random.Generator, length: int, rows: Mapping[int, int], *, near: int | None
    ) -> NDArray[np.int64]:
        """Frames of a view; its middle is sure, and at most `max_gap` away from `near`."""
        if rows and self.constrain_time:
            starts = np.arange(max(0, length - self.window) + 1)
            middles = (starts + self.window // 2) % length
            good = np.isin(middles, list(rows))
            if near is not None and self.max_gap is not None:
                good &= np.abs(middles - near) <= self.max_gap
            if good.any():
                return np.asarray((rng.choice(starts[good]) + np.arange(self.window)) % length)
        return sample_window(rng, length=length, num_frames=self.window)

    def _view(
        self,
        sample: Sample,
        rng: np.random.Generator,
        rows: Mapping[int, int],
        indices: NDArray[np.int64],
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        frames, tubes = sample.frames, sample.tubes
        assert tubes is not None
        row = rows.get(int(indices[self.window // 2]))
        mask_HW = _mask_of_frame(tubes, row, frames) if row is not None else None
        if mask_HW is not None and self.constrain_crop:
            crop = sample_covering(
                rng,
                mask_HW,
                size=self.size,
                area=self.crop_area,
                min_cover=self.min_cover,
                cover=self.cover,
            )
        else:
            crop = ResizedCrop.sample(
                rng,
                height=frames.height,
                width=frames.width,
                size=self.size,
                area=self.crop_area,
            )
        shown = np.zeros((self.size, self.size), np.bool_)
        if mask_HW is not None:
            shown = crop.apply_mask(mask_HW)
        return crop.apply(frames.decode(indices)), shown.astype(np.uint8)

    def heads(self, encoder: nn.Module) -> Mapping[str, nn.Module]:
        """Those of RSPNet or MoCo."""
        base = self.contrast if self.model == "image" else self.relative
        return base.heads(encoder)

    def loss(
        self, objective: Objective, batch: Mapping[str, Tensor], generator: np.random.Generator
    ) -> Step:
        """The base method's loss and the attention loss."""
        from stages.learning.photometric import network_input

        law = self.colour_law if self.colour else None
        query, key = (network_input(batch[name], generator, law=law) for name in ("query", "key"))
        if self.model == "image":
            features = objective.encoder(query)
            step = self.contrast.step(objective, query, key, generator, features=features)
            projector = "projector"
        else:
            speeds = self.relative.split(query, key, self.num_frames, generator)
            key = speeds.same
            features = objective.encoder(speeds.query)
            step = self.relative.step(objective, speeds, generator, features=features)
            projector = "video"
        if self.attention_weight:
            self._add_attention(step, objective, features, projector, key, batch, generator)
        return step

    def _add_attention(
        self,
        step: Step,
        objective: Objective,
        features: Tensor,
        projector: str,
        key: Tensor,
        batch: Mapping[str, Tensor],
        generator: np.random.Generator,
    ) -> None:
        from stages.learning.attention import attention_loss, shrink_mask, similarity_map

        # What surrounds the object becomes the mean colour: 0 after standardising.
        foreground = key * batch["key_mask"][:, None, None].to(key)
        if self.model == "image":
            key_BD = embed_keys(objective, foreground, generator)
        else:
            key_BD, *_ = encode_keys(objective, foreground, generator)
        heads: Any = objective.heads
        seen = similarity_map(features, heads[projector], key_BD, relu_first=self.relu_first)
        size = (seen.shape[-2], seen.shape[-1])
        mask = shrink_mask(batch["query_mask"], size, pooling=self.mask_pooling)
        attention = attention_loss(seen, mask, batch["has_mask"])
        if self.model == "image":  # the parts of the video model's loss are there already
            step.metrics["contrast"] = step.loss.detach()
        step.metrics |= {
            "attention": attention.detach(),
            "has_mask": batch["has_mask"].float().mean(),
        }
        step.loss = step.loss + self.attention_weight * attention

    def after_step(self, objective: Objective, step: Step) -> None:
        """Queue and twins of the base."""
        base = self.contrast if self.model == "image" else self.relative
        base.after_step(objective, step)

    def maps(self, objective: Objective, pixels_2CTHW: Tensor, box_4: Tensor) -> Iterable[PairMap]:
        """Grad-CAM of the similarity of both clips, and what RSPNet's heads show.

        Each clip as a whole is the other's key; in training a mask cuts out its object
        (previts.md section 7).
        """
        from stages.learning.attention import similarity_map

        features_2CTHW = objective.encoder(pixels_2CTHW)
        head: Any = objective.heads["projector" if self.model == "image" else "video"]
        seen_2THW = similarity_map(
            features_2CTHW, head, head(features_2CTHW).flip(0), relu_first=self.relu_first
        )
        for clip, values_THW in enumerate(seen_2THW):
            yield PairMap("similarity_grad_cam", clip, values_THW)
        if self.model == "video":
            yield from self.relative.maps(objective, pixels_2CTHW)

    def picture(self, views: Mapping[str, NDArray[np.generic]]) -> NDArray[np.uint8]:
        """Both views, and what is left of them inside of the mask."""
        lines = []
        for name in ("query", "key"):
            clip, mask = views[name].astype(np.uint8), views[f"{name}_mask"].astype(np.uint8)
            chosen = np.linspace(0, len(clip) - 1, min(4, len(clip))).astype(int)
            middle = len(clip) // 2
            shown = [*clip[chosen], clip[middle] * mask[..., None]]
            lines.append(caption(strip(shown), f"{name}, and its object in the middle frame"))
        return stack(lines)


def _mask_of_frame(tubes: Boxes, row: int, frames: Frames) -> NDArray[np.bool_] | None:
    """Mask of a row in pixels of the stored frames, which a shard may have shrunk."""
    import cv2  # not above: a plan reads methods and must stay light

    mask_HW = tubes.mask(row)
    if mask_HW.shape == (frames.height, frames.width):
        return mask_HW
    size = (frames.width, frames.height)
    soft_HW = cv2.resize(mask_HW.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    mask_HW = soft_HW >= 0.5
    return mask_HW if mask_HW.any() else None
