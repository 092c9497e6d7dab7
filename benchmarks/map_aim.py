"""Do maps lie on the objects? Measured on generated videos, whose boxes are exact.

    tubelet run demo --set encoder_maps.num_videos=128 --set class_maps.num_videos=128
    python benchmarks/map_aim.py

For every maps artifact of the store: the chance that a place inside of a true box is brighter than
one outside, of the same clip (the area under the ROC curve; 50 % is blind). Beside it the same of
a map that knows nothing but where objects mostly are, brightest in the middle of the view.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from pipeline.heat import spread
from pipeline.store import Store
from storage_schemas.activation_maps import ActivationMap, ActivationMaps
from storage_schemas.boxes import Boxes
from storage_schemas.manifest import Manifest
from storage_schemas.noun import Items

GRID = 64  # places a side that a map is looked at


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


def main() -> None:
    """Print a line for each artifact and kind of map."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path(".tubelet"))
    store = Store(parser.parse_args().store)
    truth = Items(Boxes, [store.folder(key) for key in store.keys("true_boxes")])
    print("| encoder | kind | clips | map | middle |\n|---|---|---|---|---|")
    for stage in ("encoder_maps", "class_maps"):
        for key in store.keys(stage):
            manifest, found = store.read_manifest(key), defaultdict(list)
            for video_id, maps in ActivationMaps.open(store.folder(key)).videos.items():
                for one in maps:
                    found[one.kind].append(aim(one, truth[video_id]))
            for kind, rows in found.items():
                figures = " | ".join(f"{100 * share:.0f}" for share in np.mean(rows, axis=0))
                print(f"| {trained_by(store, manifest)} | {kind} | {len(rows)} | {figures} |")


if __name__ == "__main__":
    main()
