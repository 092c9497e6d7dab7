"""Draw ``docs/images/{ctp,rspnet,previts,moco,simclr}.jpg``: training views of real clips.

``python benchmarks/method_views.py [METHOD ...]``. Views are those of the published
settings. A line shows where in the stored frame a view is cut, the view, and the view with
its colours changed, as the encoder sees it. Pictures of the other methods:
``benchmarks/constcl_views.py``, ``benchmarks/fame.py``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.marks import Mark, draw_marks
from pipeline.pictures import caption, draw_boxes, encode_under, stack, strip
from pipeline.stage import Context
from stages.decode.decode import Decode
from stages.learning.colour import ColourLaw
from stages.learning.photometric import augment, ctp_colour
from stages.learning.pixels import to_unit
from stages.learning.sample import Sample
from stages.learning.views import ResizedCrop
from stages.pretrain.methods.ctp import CtP
from stages.pretrain.methods.moco import MoCo
from stages.pretrain.methods.previts import PreViTS
from stages.pretrain.methods.rspnet import RSPNet
from stages.pretrain.methods.simclr import SimCLR
from stages.synthesize.synthesize import Synthesize
from stages.track.track import Track
from storage_schemas.frames import Frames
from storage_schemas.shards import Shard
from storage_schemas.videos import VideoFile

ROOT = Path(__file__).parents[1]
SHOWN, HEIGHT = 4, 112
MAX_BYTES = 120_000
CROP, OBJECT = 0, 3  # colours of the palette

Image = NDArray[np.uint8]
Chosen = tuple[str, int, Sequence[int]]  # a clip, seed of its geometry, seeds of colours


@dataclass
class Cut:
    """A crop that a method made, and the middle one of the stored frames it was cut from."""

    crop: ResizedCrop
    stored: Image

    def picture(self, *marks: Mark) -> Image:
        """The stored frame with the crop's border."""
        crop = self.crop
        box = np.array(
            [crop.left, crop.top, crop.left + crop.width, crop.top + crop.height], np.float32
        )
        text = "mirrored" if crop.flip else ""
        return draw_marks(self.stored, [*marks, Mark(colour=CROP, xyxy=box, text=text)])


@contextmanager
def recorded() -> Iterator[list[Cut]]:
    """The crops that are made inside of the block, in turn."""
    cuts: list[Cut] = []
    apply = ResizedCrop.apply

    def record(crop: ResizedCrop, clip_THWC: Image) -> Image:
        cuts.append(Cut(crop, clip_THWC[len(clip_THWC) // 2]))
        return apply(crop, clip_THWC)

    with patch.object(ResizedCrop, "apply", record):
        yield cuts


def frames_of(name: str) -> Frames:
    """A committed clip as it would be stored."""
    path = ROOT / "assets" / "clips" / f"{name}.mp4"
    return Decode().process(videos=VideoFile(path.name, "", path.stat().st_size, path))


def sample_of(frames: Frames, **annotations: Any) -> Sample:
    """A clip as a trainer reads it."""
    return Sample(frames=Shard(**vars(frames)), **annotations)


def coloured(clip_THWC: Image, law: ColourLaw, seed: int) -> Image:
    """A clip with its colours changed."""
    clips = to_unit(torch.from_numpy(np.ascontiguousarray(clip_THWC))[None])
    out = augment(clips, law, np.random.default_rng(seed))[0].permute(1, 2, 3, 0)
    return (out * 255).round().numpy().astype(np.uint8)


def some(clip_THWC: Image) -> Image:
    """Frames of a clip, first and last among them."""
    return clip_THWC[np.linspace(0, len(clip_THWC) - 1, min(SHOWN, len(clip_THWC))).astype(int)]


def line(text: str, cut: Image, view: Image, seen: Image) -> Image:
    """Stored frame, view, view in other colours."""
    parts = [strip([cut], height=HEIGHT), strip(list(view), height=HEIGHT)]
    return caption(strip([*parts, strip(list(seen), height=HEIGHT)], height=HEIGHT), text)


def ctp() -> Image:
    """A clip, the same with patches, and with its colours changed."""
    lines = []
    bank = Synthesize(num_trajectories=64).run(ctx=Context(work=_work()))
    for name, seed in (("plant", 1), ("cup", 1)):
        method = CtP(strides=(3,), paste_on="device")
        sample = sample_of(frames_of(name), trajectories=bank)
        clean = method.views(sample, np.random.default_rng(seed))
        pasted = CtP(strides=(3,)).views(sample, np.random.default_rng(seed))
        clip = pasted["clip"].astype(np.uint8)
        chosen = np.linspace(0, len(clip) - 1, 6).astype(int)
        boxes = pasted["boxes"].astype(np.float32)
        marked = [
            draw_boxes(_large(clip[t]), boxes[:, t] * 2, ids=list(range(len(boxes))))
            for t in chosen
        ]
        torch_clip = torch.from_numpy(np.ascontiguousarray(clip))[None]
        seen = ctp_colour(torch_clip, np.random.default_rng(seed))[0].numpy()
        lines += [
            caption(strip(list(clean["clip"].astype(np.uint8)[chosen])), f"{name}: a clip"),
            caption(strip(list(seen[chosen])), "with patches, colours changed: what is seen"),
            caption(strip(marked), "the patches: first boxes are given, all are to be told"),
        ]
    return stack(lines)


def rspnet() -> Image:
    """Query and key of one video; the key at both speeds."""
    lines = []
    method = RSPNet()
    for name, seed, colours in (("gymnast_cam02", 2, (1, 6)), ("dog", 1, (8, 0))):
        with recorded() as cuts:
            views = method.views(sample_of(frames_of(name)), np.random.default_rng(seed))
        query, key = (views[part].astype(np.uint8) for part in ("query", "key"))
        shown = (
            (f"{name}: query, every frame (1x)", cuts[0], query[:16], 0),
            ("key of the same speed (1x): nearer in the speed projection", cuts[1], key[:16], 1),
            ("key of the other speed (2x): further; in the video projection near, too",
             cuts[1], key[::2], 1),
        )  # fmt: skip
        for text, cut, clip, colour in shown:
            seen = coloured(clip, method.colour_law, colours[colour])
            lines.append(line(text, cut.picture(), some(clip), some(seen)))
    return stack(lines)


def pair(
    method: MoCo | SimCLR,
    laws: Sequence[ColourLaw],
    clips: Sequence[Chosen],
) -> Image:
    """Both views of each clip."""
    lines = []
    for name, seed, colours in clips:
        with recorded() as cuts:
            views = method.views(sample_of(frames_of(name)), np.random.default_rng(seed))
        for i, part in enumerate(("first", "second")):
            clip = views[part].astype(np.uint8)
            seen = coloured(clip, laws[i], colours[i])
            lines.append(line(f"{name}: {part} view", cuts[i].picture(), some(clip), some(seen)))
    return stack(lines)


def moco() -> Image:
    """Two clips of a video."""
    method = MoCo()
    return pair(method, [method.colour_law] * 2, (("dog", 2, (1, 8)), ("gymnast_cam01", 5, (6, 5))))


def simclr() -> Image:
    """Two clips of a video, in colours of two laws."""
    method = SimCLR()
    laws = [method.first_colour, method.second_colour]
    return pair(method, laws, (("walker_b", 1, (7, 0)), ("cup", 3, (8, 2))))


def previts() -> Image:
    """Both views, the tube's mask in the stored frame, and what is left of the key."""
    lines = []
    method = PreViTS(min_valid_frames=20)
    for name, seed, colours in (("cup", 1, (7, 8)), ("walker_b", 0, (0, 1))):
        frames = frames_of(name)
        tubes = Track().process(frames=frames)
        rows = method._rows_by_frame(tubes)
        with recorded() as cuts:
            views = method.views(sample_of(frames, tubes=tubes), np.random.default_rng(seed))
        for cut, part, colour in zip(cuts, ("query", "key"), colours, strict=True):
            clip, mask = (views[n].astype(np.uint8) for n in (part, f"{part}_mask"))
            seen = coloured(clip, method.colour_law, colour)
            where = _frame_of(frames, cut.stored)
            stored = cut.picture(Mark(colour=OBJECT, mask_HW=tubes.mask(rows[where])))
            middle = len(clip) // 2
            grey = np.array([124, 116, 104], np.uint8)  # 0 once channels are standardised
            alone = np.where(mask[..., None] > 0, seen[middle], grey)
            target = draw_marks(
                _large(clip[middle], 1), [Mark(colour=OBJECT, mask_HW=mask.astype(bool))]
            )
            after = [target] if part == "query" else [alone]
            text = (
                "query: the tube (tinted), the crop that shows it, the mask attention is pulled to"
                if part == "query"
                else "key: drawn from the tube's frames, too; its object alone for the attention"
            )
            lines.append(
                line(f"{name}, {text}", stored, some(clip), np.stack([*some(seen)[:3], *after]))
            )
    return stack(lines)


def _frame_of(frames: Frames, stored: Image) -> int:
    """Number of a decoded frame."""
    return next(t for t in range(len(frames)) if np.array_equal(frames.decode([t])[0], stored))


def _large(image: Image, times: int = 2) -> Image:
    return np.ascontiguousarray(image.repeat(times, 0).repeat(times, 1))


def _work() -> Path:
    import tempfile

    return Path(tempfile.mkdtemp())


PICTURES = {f.__name__: f for f in (ctp, rspnet, previts, moco, simclr)}


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=", ".join(PICTURES))
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "images")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.methods or PICTURES:
        image = PICTURES[name]()
        path = arguments.to / f"{name}.jpg"
        path.write_bytes(encode_under(image, max_bytes=MAX_BYTES))
        print(f"{path} {image.shape[1]} x {image.shape[0]}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
