"""Draw ``docs/images/constcl.jpg``: ConST-CL's views of two real clips, with their boxes.

``python benchmarks/constcl_views.py [FILE]``. Left, boxes drawn at random in each view;
right, SLIC proposals of the stored frames, seen through each view's crop and flip. Below
them the middle frames as the encoder sees them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.pictures import caption, grid, stack, strip
from stages.decode.decode import Decode
from stages.learning.sample import Sample
from stages.pretrain.methods.constcl import ConstCL
from stages.propose.slic import Slic
from storage_schemas.jpeg import encode_jpeg
from storage_schemas.shards import Shard
from storage_schemas.videos import VideoFile

ROOT = Path(__file__).parents[1]
CLIPS = ("walker_a.mp4", "dog.mp4")


def panel(name: str, method: ConstCL, seed: int) -> NDArray[np.uint8]:
    """Views of a clip before colours are changed, and what the encoder gets."""
    path = ROOT / "assets" / "clips" / name
    frames = Decode().process(videos=VideoFile(name, "", path.stat().st_size, path))
    sample = Sample(frames=Shard(**vars(frames)), proposals=Slic().process(frames=frames))
    rng = np.random.default_rng(seed)
    views = method.views(sample, rng)
    batch = {k: torch.from_numpy(np.ascontiguousarray(v))[None] for k, v in views.items()}
    seen = method.network_input(batch, rng)[:, :, method.num_frames // 2]
    pixels = ((seen.permute(0, 2, 3, 1) + 1) * 127.5).round().byte().numpy()
    text = f"{name}, {method.boxes}"
    below = caption(strip(list(pixels), height=160), "both middle frames as the encoder sees them")
    return stack([caption(method.picture(views), text), below])


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    shown = ROOT / "docs" / "images" / "constcl.jpg"
    parser.add_argument("file", nargs="?", type=Path, default=shown)
    target = parser.parse_args().file
    methods = (ConstCL(boxes="random"), ConstCL(boxes="proposals"))
    panels = [panel(name, method, seed) for seed, name in enumerate(CLIPS, 3) for method in methods]
    target.write_bytes(encode_jpeg(grid(panels, columns=2, gap=12), quality=75))


if __name__ == "__main__":
    main()
