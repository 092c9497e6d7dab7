"""Do maps lie on the objects? Measured on generated videos, whose boxes are exact.

    tubelet run demo --set encoder_maps.num_videos=128 --set class_maps.num_videos=128
    tubelet run rspnet_tiny --set encoder_maps.num_videos=128
    tubelet run constcl_tiny --set encoder_maps.num_videos=128
    python benchmarks/maps.py [--pictures docs/images]

For every maps artifact of the store: the chance that a place inside of a true box is brighter than
one outside, of the same clip (the area under the ROC curve; 50 % is blind). Beside it the same of
a map that knows nothing but where objects mostly are, brightest in the middle of the view.
``--pictures`` draws those of docs/evaluation.md.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from pipeline.heat import spread
from pipeline.pictures import encode_under
from pipeline.store import Store
from storage_schemas.activation_maps import ActivationMap, ActivationMaps
from storage_schemas.boxes import Boxes
from storage_schemas.manifest import Manifest
from storage_schemas.noun import Items
from workflows.catalogue import find_stages
from workflows.show import open_gathered

GRID = 64  # places a side that a map is looked at
SHEETS = {("class_maps", "ctp"), ("encoder_maps", "rspnet"), ("encoder_maps", "constcl")}
PICTURED, MAX_BYTES = "MoveLeft/v_MoveLeft_g09_c01.mp4", 100_000


def aim(one: ActivationMap, boxes: Boxes) -> tuple[float, float]:
    """Area under the curve of the map, and of nearness to the middle of the view."""
    heat_FHW = spread(one.values_THW, len(one.frames_F), GRID, GRID)
    x1, y1, x2, y2 = one.view_xyxy
    places = (np.arange(GRID) + 0.5) / GRID
    x, y = np.meshgrid(x1 + places * (x2 - x1), y1 + places * (y2 - y1))
    inside_FHW = np.zeros(heat_FHW.shape, bool)
    for t, frame in enumerate(one.frames_F.tolist()):
        for left, top, right, bottom in boxes.xyxy[boxes.in_frame(frame)]:
            inside_FHW[t] |= (left <= x) & (x < right) & (top <= y) & (y < bottom)
    u, v = np.meshgrid(places - 0.5, places - 0.5)
    middle_FHW = np.broadcast_to(-np.hypot(u, v), heat_FHW.shape)
    found = [roc_auc_score(inside_FHW.ravel(), map_.ravel()) for map_ in (heat_FHW, middle_FHW)]
    return found[0], found[1]


def trained_by(store: Store, manifest: Manifest) -> str:
    """Name of the method whose encoder is below an artifact, or what it is otherwise."""
    for role in ("encoder", "classifier"):
        for key in manifest.inputs.get(role, ()):
            below = store.read_manifest(key)
            method = below.parameters.get("method")
            if isinstance(method, dict):
                return str(method["name"])
            return trained_by(store, below) if below.inputs else below.stage
    return ""


def draw(store: Store, manifest: Manifest, folder: Path) -> None:
    """A sheet of one video, small enough for the documentation."""
    stages = {stage.name: stage for stage in find_stages()}
    found = open_gathered(store, manifest, stages, video_id=PICTURED)
    name = manifest.stage.replace("_", "-") + f"-{trained_by(store, manifest)}"
    path = folder / f"{name}.jpg"
    path.write_bytes(encode_under(found.sheet(PICTURED), max_bytes=MAX_BYTES))


def main() -> None:
    """Print a line for each encoder and kind of map, of the newest artifact of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path(".tubelet"))
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    store = Store(arguments.store)
    truth = Items(Boxes, [store.folder(key) for key in store.keys("shape_masks")])
    newest = {}
    for stage in ("encoder_maps", "class_maps"):
        for key in store.keys(stage):
            manifest = store.read_manifest(key)
            newest[stage, trained_by(store, manifest)] = manifest
    print("| encoder | map | clips | over the objects | middle |\n|---|---|---|---|---|")
    for (stage, method), manifest in newest.items():
        found = defaultdict(list)
        for video_id, maps in ActivationMaps.open(store.folder(manifest.key)).videos.items():
            for one in maps:
                found[one.kind].append(aim(one, truth[video_id]))
        for kind, rows in found.items():
            figures = " | ".join(f"{100 * share:.0f}" for share in np.mean(rows, axis=0))
            print(f"| {method} | {kind} | {len(rows)} | {figures} |", flush=True)
        if arguments.pictures is not None and (stage, method) in SHEETS:
            draw(store, manifest, arguments.pictures)


if __name__ == "__main__":
    main()
