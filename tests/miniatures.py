"""Miniatures of the official layouts, with real encoded videos: two classes, four videos each.

``WRITERS[name](folder)`` writes the data set that the source ``name`` reads. A class is a
direction, so that a protocol run on a miniature can tell classes apart. Traps of the
layouts have fixtures of their own, in the tests of each source.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import scipy.io
from numpy.typing import NDArray

from pipeline.found_file import FoundFile

FRAMES, HEIGHT, WIDTH, SIDE = 12, 48, 64, 16
SPLITS = ("train", "train", "test", "test")  # of the videos of a class


def by_place(files: Sequence[FoundFile]) -> list[str]:
    """What stands for digests in tests that are about lists: where each file lies."""
    return [file.place for file in files]


def masks(label: int) -> NDArray[np.bool_]:
    """A square that moves to the right (class 0) or down (class 1), (T, H, W)."""
    found = np.zeros((FRAMES, HEIGHT, WIDTH), np.bool_)
    for t in range(FRAMES):
        x, y = (4 + 3 * t, 16) if label == 0 else (24, 2 + 2 * t)
        found[t, y : y + SIDE, x : x + SIDE] = True
    return found


def frames(label: int, number: int) -> NDArray[np.uint8]:
    """The square of `masks` before noise that is another in each video, (T, H, W, 3)."""
    rng = np.random.default_rng([label, number])
    background = rng.integers(40, 120, (HEIGHT, WIDTH, 3), np.uint8)
    return np.where(masks(label)[..., None], np.uint8([230, 60 + 20 * number, 40]), background)


def write_video(path: Path, label: int, number: int, *, codec: str = "libx264") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.options = {"threads": "1"}
        for frame in frames(label, number):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write_image(path: Path, image_HWC: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = ".png" if path.suffix == ".png" else ".jpg"
    ok, data = cv2.imencode(kind, image_HWC[..., ::-1])
    assert ok
    path.write_bytes(data.tobytes())


def videos(*classes: str) -> Iterator[tuple[int, str, int, str]]:
    """Class index, class, number of the video, split."""
    for label, name in enumerate(classes):
        for number, split in enumerate(SPLITS):
            yield label, name, number, split


def ucf101(root: Path) -> None:
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for label, name, number, split in videos("Archery", "HandstandPushups"):
        spelled = name.replace("stand", "Stand")  # as the official files are
        file = f"{name}/v_{spelled}_g{number + 1:02d}_c01.avi"
        write_video(root / "UCF-101" / file, label, number, codec="mpeg4")
        lines[split].append(file + (f" {label + 1}" if split == "train" else ""))
    (root / "ucfTrainTestlist").mkdir()
    for split, text in lines.items():
        (root / f"ucfTrainTestlist/{split}list01.txt").write_text("\n".join(text))


def hmdb51(root: Path, classes: tuple[str, str] = ("ride_bike", "wave")) -> None:
    lists = root / "testTrainMulti_7030_splits"
    _tagged(lists, root / "videos", classes, "#{}_(a)_&_b_{}_u_nm_np1_fr_med_{}.avi")


def _tagged(lists: Path, folder: Path, classes: tuple[str, str], file: str) -> None:
    lists.mkdir(parents=True)
    lines: dict[str, list[str]] = {name: [] for name in classes}
    for label, name, number, split in videos(*classes):
        called = file.format(number, name, number)
        write_video(folder / name / called, label, number, codec="mpeg4")
        lines[name].append(f"{called} {1 if split == 'train' else 2}")
    for name, text in lines.items():
        (lists / f"{name}_test_split1.txt").write_text("\n".join(text))


TEMPLATES = (
    "Pulling [something] from left to right",
    "Pulling [something] from right to left",
)


def something_v2(root: Path) -> None:
    lists: dict[str, Any] = {"train": [], "validation": [], "test": [{"id": "999"}]}
    for label, template, number, split in videos(*TEMPLATES):
        video_id = str(100 * label + number)
        write_video(root / "one.mkv", label, number)  # WebM is a kind of Matroska
        target = root / "20bn-something-something-v2" / f"{video_id}.webm"
        target.parent.mkdir(exist_ok=True)
        (root / "one.mkv").rename(target)
        entry = {"id": video_id, "label": "pulling a cup", "template": template}
        lists["train" if split == "train" else "validation"].append(entry)
    names = [template.translate(str.maketrans("", "", "[]")) for template in TEMPLATES]
    lists["labels"] = {name: str(number) for number, name in enumerate(names)}
    for name, content in lists.items():
        (root / f"something-something-v2-{name}.json").write_text(json.dumps(content))


def something_v1(root: Path) -> None:
    lists: dict[str, list[str]] = {"train": [], "validation": [], "test": ["999"]}
    names = [template.translate(str.maketrans("", "", "[]")) for template in TEMPLATES]
    for label, name, number, split in videos(*names):
        video_id = str(1000 + 100 * label + number)
        for t, image in enumerate(frames(label, number)):
            write_image(root / f"20bn-something-something-v1/{video_id}/{t + 1:05d}.jpg", image)
        lists["train" if split == "train" else "validation"].append(f"{video_id};{name}")
    for list_name, lines in (lists | {"labels": names}).items():
        (root / f"something-something-v1-{list_name}.csv").write_text("\n".join(lines))


def jhmdb(root: Path) -> None:
    classes = ("catch", "pour")
    _tagged(root / "splits", root / "ReCompress_Videos", classes, "Clip_{}_{}_u_cm_np1_{}.avi")
    for label, name, number, _ in videos(*classes):
        folder = root / "puppet_mask" / name / f"Clip_{number}_{name}_u_cm_np1_{number}"
        folder.mkdir(parents=True)
        part_mask = np.moveaxis(masks(label), 0, 2).astype(np.uint8)
        scipy.io.savemat(folder / "puppet_mask.mat", {"part_mask": part_mask})


def kinetics400(root: Path) -> None:
    lines = {split: ["label,youtube_id,time_start,time_end,split"] for split in ("train", "val")}
    for label, name, number, split in videos("abseiling", "marching"):
        kind = "train" if split == "train" else "val"
        youtube_id = f"-b_{label}{number}67890a"
        folder = root / f"{kind}_video" / name.replace(" ", "_")
        write_video(folder / f"{youtube_id}_000005_000015.mp4", label, number)
        lines[kind].append(f"{name},{youtube_id},5,15,{kind}")
    for split, text in lines.items():
        (root / f"{split}.csv").write_text("\n".join(text))


def mini_kinetics200(root: Path) -> None:
    kinetics400(root)
    boxes: dict[str, dict[str, Any]] = {"train": {}, "val": {}}
    for label, name, number, split in videos("abseiling", "marching"):
        kind = "train" if split == "train" else "val"
        by_frame = {t + 1: {"human_boxes": people(mask)} for t, mask in enumerate(masks(label))}
        boxes[kind].setdefault(name, {})[f"-b_{label}{number}67890a"] = by_frame
    for split, content in boxes.items():
        ids = [youtube_id for found in content.values() for youtube_id in found]
        (root / f"{split}_ytid_list.txt").write_text("\n".join(ids))
        np.save(root / f"detection_{split}_merged_rearranged.npy", content, allow_pickle=True)  # type: ignore[arg-type]


def people(mask_HW: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The box of the square in a frame 240 high, as SDN's detector would give it."""
    ys, xs = np.nonzero(mask_HW)
    box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) * 240 / HEIGHT
    return np.array([[*box, 0.9]], np.float32)


def imagenet9(root: Path) -> None:
    variants = ("original", "only_bg_b", "only_bg_t", "no_fg", "only_fg")
    variants += ("mixed_same", "mixed_rand", "mixed_next")
    for label, name, number, split in videos("00_dog", "01_bird"):
        image = cv2.resize(frames(label, number)[number], (224, 224))
        if split == "train":
            write_image(root / "in9l/train" / name / f"n0{label}_{number}.JPEG", image)
            continue
        for seed, variant in enumerate(variants):
            image[:20, :20] = 25 * seed  # no two images are one file
            write_image(root / f"bg_challenge/{variant}/val/{name}/n0_{number}.JPEG", image)


WRITERS: Mapping[str, Callable[[Path], None]] = {
    "ucf101": ucf101,
    "hmdb51": hmdb51,
    "something_v2": something_v2,
    "something_v1": something_v1,
    "jhmdb": jhmdb,
    "kinetics400": kinetics400,
    "mini_kinetics200": mini_kinetics200,
    "imagenet9": imagenet9,
}

# Where a source finds its miniature; by default in `path`.
SETTINGS = {
    "imagenet9": ["imagenet9.path=bg_challenge", "imagenet9.train=in9l/train"],
}
