"""Procedural videos with exact truth, on a grid of difficulty; the same seed, the same bytes.

Objects are photographs and noise inside outlines that bend and turn, before a photograph
that the camera pans over. Every quality figure that needs exact masks uses these scenes:
``render(SceneSpec(seed=3, objects=2, camera="pan"))``.

``K`` objects, ``T`` frames, ``H`` and ``W`` their size in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

from storage_schemas.boxes import Boxes, encode_mask
from storage_schemas.frames import Frames, Probe
from storage_schemas.jpeg import encode_jpeg

# Photographs inside scikit-image's wheel: nothing is downloaded.
_PHOTOGRAPHS = (
    *("brick", "grass", "gravel", "coffee", "rocket"),
    *("astronaut", "chelsea", "camera", "coins", "moon"),
)
_TEXTURE_SIDE = 768
_WAVES = 5  # harmonics of an outline


@dataclass(frozen=True)
class SceneSpec:
    """What a scene shows; lengths refer to a short side of 240 pixels and scale with it.

    Parameters
    ----------
    seed : int
    objects : int
        0..8; with `cut`, as many on each side of it.
    camera : {"none", "pan", "zoom", "shake"}
    occlusion : bool
        The first object passes behind a pillar that hides all of it for some frames;
        the other objects may cross each other.
    contrast : float
        Of all textures; 1 is that of the photographs.
    noise : float
        Standard deviation in grey levels, anew in each frame and channel.
    brightness : float
        Of the scene before the noise: 0.3 and a noise of 10 make a night.
    letterbox : float
        Height of each black bar as a fraction of the frame's.
    stopping : bool
        The objects rest from 0.35 to 0.8 of the video.
    starting : bool
        The objects rest until 0.45 of the video.
    absence : int
        Frames that the first object waits behind the pillar.
    entering : bool
        The objects come in from one side and leave by the other.
    cut : bool
        The second half is another scene with other objects.
    num_frames, height, width : int
    """

    seed: int
    objects: int = 1
    camera: Literal["none", "pan", "zoom", "shake"] = "none"
    occlusion: bool = False
    contrast: float = 1.0
    noise: float = 2.0
    brightness: float = 1.0
    letterbox: float = 0.0
    stopping: bool = False
    starting: bool = False
    absence: int = 0
    entering: bool = False
    cut: bool = False
    num_frames: int = 60
    height: int = 240
    width: int = 320


@dataclass(frozen=True, repr=False)
class Scene:
    """Pixels and truth.

    Parameters
    ----------
    spec : SceneSpec
    frames_THWC : ndarray of shape (T, H, W, 3), uint8
        RGB.
    masks_KTHW : ndarray of shape (K, T, H, W), bool
        What can be seen of each object; an object's number is its identity.
    visibility_KT : ndarray of shape (K, T), float32
        Visible share of the object, in 0..1; what lies outside the frame is not visible.
    cut_T : ndarray of shape (T,), bool
        Whether a scene starts here; the first frame counts.
    """

    spec: SceneSpec
    frames_THWC: NDArray[np.uint8]
    masks_KTHW: NDArray[np.bool_]
    visibility_KT: NDArray[np.float32]
    cut_T: NDArray[np.bool_]

    def __repr__(self) -> str:
        return f"Scene({self.spec}, masks {self.masks_KTHW.shape})"

    @property
    def video_id(self) -> str:
        """A name made of the seed."""
        return f"scene_{self.spec.seed:05d}.mp4"

    def frames(self, *, quality: int = 90) -> Frames:
        """The scene as a stage gets it: JPEG frames at 25 a second."""
        count, height, width = self.frames_THWC.shape[:3]
        return Frames(
            video_id=self.video_id,
            jpegs=[encode_jpeg(frame, quality=quality) for frame in self.frames_THWC],
            pts_seconds=np.arange(count) / 25,
            source_frames=np.arange(count, dtype=np.int32),
            height=height,
            width=width,
            probe=Probe(frames_expected=count, frames_decoded=count),
        )

    def truth(self) -> Boxes:
        """Visible boxes and masks; ``track`` is the object, ``score`` its visibility."""
        objects, count, height, width = self.masks_KTHW.shape
        rows = [(t, k) for t in range(count) for k in range(objects)]
        rows = [(t, k) for t, k in rows if self.masks_KTHW[k, t].any()]
        return Boxes(
            video_id=self.video_id,
            num_frames=count,
            height=height,
            width=width,
            frame=np.asarray([t for t, _ in rows], np.int32),
            xyxy=np.asarray([box_of(self.masks_KTHW[k, t]) for t, k in rows], np.float32).reshape(
                -1, 4
            ),
            track=np.asarray([k for _, k in rows], np.int32),
            score=np.asarray([self.visibility_KT[k, t] for t, k in rows], np.float32),
            mask_runs=[encode_mask(self.masks_KTHW[k, t]) for t, k in rows],
        )


def box_of(mask_HW: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Half-open ``xyxy`` of a mask that is not empty."""
    ys, xs = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1


def grid(seed: int) -> Iterator[tuple[str, SceneSpec]]:
    """Named scenes, each harder than the plain one in a way or two; `seed` moves all of them."""
    variants: dict[str, dict[str, Any]] = {
        "1 object": {},
        "2 objects": {"objects": 2},
        "4 objects": {"objects": 4},
        "pan": {"camera": "pan"},
        "zoom": {"camera": "zoom"},
        "shake": {"camera": "shake"},
        "2 objects, pan": {"objects": 2, "camera": "pan"},
        "2 objects, shake": {"objects": 2, "camera": "shake"},
        "occlusion": {"occlusion": True},
        "low contrast": {"contrast": 0.35},
        "night": {"brightness": 0.3, "noise": 10.0},
        "letterbox": {"letterbox": 0.12},
        "stopping": {"stopping": True},
        "entering": {"entering": True, "objects": 2},
        "cut": {"cut": True},
        "no object": {"objects": 0},
        "no object, shake": {"objects": 0, "camera": "shake"},
        "starting": {"starting": True},
        "3 objects": {"objects": 3},
        "3 objects, pan": {"objects": 3, "camera": "pan"},
        "3 objects, shake": {"objects": 3, "camera": "shake"},
        "4 objects, pan": {"objects": 4, "camera": "pan"},
        "4 objects, zoom": {"objects": 4, "camera": "zoom"},
        "occlusion, pan": {"occlusion": True, "camera": "pan"},
        "occlusion, shake": {"occlusion": True, "camera": "shake"},
        "3 objects, occlusion": {"objects": 3, "occlusion": True},
        "low contrast, pan": {"contrast": 0.35, "camera": "pan"},
        "low contrast, shake": {"contrast": 0.35, "camera": "shake"},
        "night, pan": {"brightness": 0.3, "noise": 10.0, "camera": "pan"},
        "long absence": {"occlusion": True, "absence": 40, "num_frames": 100},
        "stopping, shake": {"stopping": True, "camera": "shake"},
    }
    for number, (name, options) in enumerate(variants.items()):
        yield name, SceneSpec(seed=1000 * seed + number, **options)


def render(spec: SceneSpec) -> Scene:
    """Pixels and truth of a scene."""
    if not spec.cut:
        return _render_shot(spec)
    half = spec.num_frames // 2
    one = _render_shot(replace(spec, cut=False, num_frames=half))
    two = _render_shot(
        replace(spec, cut=False, num_frames=spec.num_frames - half, seed=spec.seed + 500)
    )
    masks = np.zeros((2 * spec.objects, spec.num_frames, spec.height, spec.width), np.bool_)
    visibility = np.zeros((2 * spec.objects, spec.num_frames), np.float32)
    masks[: spec.objects, :half], masks[spec.objects :, half:] = one.masks_KTHW, two.masks_KTHW
    visibility[: spec.objects, :half] = one.visibility_KT
    visibility[spec.objects :, half:] = two.visibility_KT
    return Scene(
        spec=spec,
        frames_THWC=np.concatenate([one.frames_THWC, two.frames_THWC]),
        masks_KTHW=masks,
        visibility_KT=visibility,
        cut_T=np.concatenate([one.cut_T, two.cut_T]),
    )


def _render_shot(spec: SceneSpec) -> Scene:
    rng = np.random.default_rng(spec.seed)
    scale = min(spec.height, spec.width) / 240
    names = rng.permutation(_PHOTOGRAPHS)  # no two things of a scene look the same
    ground, pillar, *surfaces = (
        _texture(rng, str(name), spec) for name in names[: 2 + spec.objects]
    )
    radius_K = rng.uniform(0.75, 1.0, spec.objects) * scale * (36 if spec.objects < 3 else 28)
    paths_KT2 = _object_paths(rng, spec, radius_K)
    cameras_T23 = _camera_path(rng, spec, scale, paths_KT2)
    shapes = [_Shape.draw(rng, float(radius)) for radius in radius_K]
    clock_T = _clock(spec)
    frames = np.empty((spec.num_frames, spec.height, spec.width, 3), np.uint8)
    masks = np.zeros((spec.objects, spec.num_frames, spec.height, spec.width), np.bool_)
    whole = np.ones((spec.objects, spec.num_frames))
    bar = round(spec.letterbox * spec.height)
    for t in range(spec.num_frames):
        image = _warped(ground, cameras_T23[t], spec)
        for k in reversed(range(spec.objects)):  # the first object is the nearest
            shape, centre = shapes[k], paths_KT2[k, t]
            alpha = shape.alpha(centre, clock_T[t], spec)
            whole[k, t] = shape.area(clock_T[t])
            image += alpha[..., None] * (
                _warped(surfaces[k], shape.placement(centre, clock_T[t]), spec) - image
            )
            masks[k, t] = alpha > 0.5
            masks[k + 1 :, t] &= ~masks[k, t]
        if spec.occlusion:
            hidden = _pillar(spec, scale, cameras_T23[t])
            image[hidden] = _warped(pillar, cameras_T23[t], spec)[hidden]
            masks[:, t] &= ~hidden
        image *= spec.brightness
        image += rng.standard_normal(image.shape, np.float32) * np.float32(spec.noise)
        if bar:  # bars come after the sensor
            image[:bar] = image[-bar:] = 0
            masks[:, t, :bar] = masks[:, t, -bar:] = False
        frames[t] = np.clip(image, 0, 255)
    visibility = np.minimum(masks.sum(axis=(2, 3)) / whole, 1).astype(np.float32)
    return Scene(spec, frames, masks, visibility, np.arange(spec.num_frames) == 0)


@dataclass(frozen=True)
class _Shape:
    """A star-shaped outline that bends and turns, and the way its surface lies in it."""

    radius: float
    amplitudes: NDArray[np.float64]
    phases: NDArray[np.float64]
    aspect: float
    turn: float  # radians a frame
    bend: float  # radians a frame

    @classmethod
    def draw(cls, rng: np.random.Generator, radius: float) -> _Shape:
        orders = np.arange(2, 2 + _WAVES)
        return cls(
            radius=radius,
            amplitudes=rng.uniform(0.3, 1, _WAVES) * 0.35 / orders,
            phases=rng.uniform(0, 2 * np.pi, _WAVES),
            aspect=float(rng.uniform(0.65, 1)),
            turn=float(rng.uniform(-0.02, 0.02)),
            bend=float(rng.uniform(0.03, 0.08)),
        )

    def reach(self, angle: NDArray[np.floating], clock: float) -> NDArray[np.floating]:
        """Distance of the outline from the centre in the direction of an angle."""
        out = np.ones_like(angle)
        for i, order in enumerate(range(2, 2 + _WAVES)):
            phase = float(self.phases[i] + self.bend * clock * (1 if i % 2 else -1))
            out += float(self.amplitudes[i]) * np.cos(order * angle + phase)
        return self.radius * out

    def alpha(
        self, centre: NDArray[np.float64], clock: float, spec: SceneSpec
    ) -> NDArray[np.float32]:
        """Share (H, W) of each pixel that the object covers; soft over one pixel."""
        out = np.zeros((spec.height, spec.width), np.float32)
        far = 1.6 * self.radius  # beyond it the outline never reaches
        left, right = np.clip([centre[0] - far, centre[0] + far + 1], 0, spec.width).astype(int)
        top, bottom = np.clip([centre[1] - far, centre[1] + far + 1], 0, spec.height).astype(int)
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
        x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
        cos, sin = np.float32(np.cos(self.turn * clock)), np.float32(np.sin(self.turn * clock))
        x, y = cos * x + sin * y, (cos * y - sin * x) / np.float32(self.aspect)
        edge = self.reach(np.arctan2(y, x), clock) - np.hypot(x, y)
        out[top:bottom, left:right] = np.clip(edge + 0.5, 0, 1)
        return out

    def area(self, clock: float) -> float:
        """Pixels of the whole object."""
        angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
        return float(self.aspect * np.pi * (self.reach(angle, clock) ** 2).mean())

    def placement(self, centre: NDArray[np.float64], clock: float) -> NDArray[np.float64]:
        """Affine map (2, 3) of the surface's pixels onto the frame's."""
        cos, sin = np.cos(self.turn * clock), np.sin(self.turn * clock)
        turn = np.array([[cos, -sin], [sin, cos]])
        middle = np.full(2, _TEXTURE_SIDE / 2)
        return np.concatenate([turn, (centre - turn @ middle)[:, None]], axis=1)


def _clock(spec: SceneSpec) -> NDArray[np.float64]:
    """Time (T,) by which objects move: frames, less those in which they rest."""
    moving = np.ones(spec.num_frames)
    if spec.stopping:
        moving[round(0.35 * spec.num_frames) : round(0.8 * spec.num_frames)] = 0
    if spec.starting:
        moving[: round(0.45 * spec.num_frames)] = 0
    if spec.absence:
        first = (spec.num_frames - spec.absence) // 2
        moving[first : first + spec.absence] = 0
    return np.cumsum(moving) - 1


def _object_paths(
    rng: np.random.Generator, spec: SceneSpec, radius_K: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Centres (K, T, 2) in the frame.

    Each object swings in a lane of its own, or crosses the frame in it; with `occlusion`
    the lanes lie on each other.
    """
    count = spec.objects
    bar = spec.letterbox * spec.height
    paths = np.zeros((count, spec.num_frames, 2))
    clock_T = _clock(spec)
    across = spec.entering or spec.occlusion
    rows = max(1, count if across else min(count, 2))
    columns = 1 if across else -(-count // rows)
    for k, radius in enumerate(radius_K):
        row, column = (0.5, 0) if spec.occlusion else divmod(k, columns)
        height = (spec.height - 2 * bar) / (1 if spec.occlusion else rows)
        width = spec.width / columns
        middle_y = bar + height * (0.5 if spec.occlusion else row + 0.5)
        slack_y = max(0.0, height / 2 - 1.2 * radius)
        drift = slack_y * np.sin(rng.uniform(0.04, 0.07) * clock_T + rng.uniform(0, 6.3))
        if spec.entering or (spec.occlusion and k == 0):
            reach = 1.5 * radius if spec.entering else -1.3 * radius
            way = np.linspace(-reach, spec.width + reach, spec.num_frames - spec.absence)
            x = way[np.round(clock_T).astype(int).clip(0)]
            x = x if rng.random() < 0.5 else spec.width - x
            drift *= 0.3
        else:
            slack_x = max(0.0, width / 2 - 1.2 * radius)
            # Quadrature: an object that swings rests in no moment in both directions.
            start = rng.uniform(0, 6.3)
            speed = rng.uniform(0.05, 0.08) * min(1.0, 60 / max(slack_x, 1))
            x = width * (column + 0.5) + slack_x * np.sin(speed * clock_T + start)
            drift = 0.8 * min(slack_y, 30) * np.cos(speed * clock_T + start)
        paths[k] = np.stack([x, middle_y + drift], axis=1)
    return paths


def _camera_path(
    rng: np.random.Generator, spec: SceneSpec, scale: float, paths_KT2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Affine maps (T, 2, 3) of the ground's pixels onto the frame's.

    A pan takes the direction, of several, in which the ground moves least like the objects.
    """
    t = np.arange(spec.num_frames, dtype=np.float64)
    shift, zoom, roll = np.zeros((spec.num_frames, 2)), np.ones_like(t), np.zeros_like(t)
    if spec.camera == "pan":
        angles = rng.uniform(0, 2 * np.pi, 8)
        speeds = scale * rng.uniform(1, 3) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        own = (paths_KT2[:, -1] - paths_KT2[:, 0]) / max(1, spec.num_frames - 1)
        apart = np.linalg.norm(speeds[:, None] - own[None], axis=-1).min(axis=1, initial=np.inf)
        shift = t[:, None] * speeds[apart.argmax()]
    elif spec.camera == "zoom":
        zoom = (1 + rng.choice([-1, 1]) * rng.uniform(0.004, 0.008)) ** (t - t.mean())
    elif spec.camera == "shake":
        kicks = rng.normal(size=(spec.num_frames, 3))
        smooth = cv2.GaussianBlur(kicks, (1, 9), sigmaX=1, sigmaY=1.2)
        shift, roll = 4 * scale * smooth[:, :2], 0.01 * smooth[:, 2]
    centre = np.array([spec.width, spec.height]) / 2
    maps = np.zeros((spec.num_frames, 2, 3))
    for i in range(spec.num_frames):
        cos, sin = zoom[i] * np.cos(roll[i]), zoom[i] * np.sin(roll[i])
        turn = np.array([[cos, -sin], [sin, cos]])
        maps[i, :, :2] = turn
        maps[i, :, 2] = centre + shift[i] - turn @ np.full(2, _TEXTURE_SIDE / 2)
    return maps


def _pillar(spec: SceneSpec, scale: float, camera_23: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pixels (H, W) of a pillar that stands in the middle of the ground."""
    foot = camera_23 @ np.array([_TEXTURE_SIDE / 2, _TEXTURE_SIDE / 2, 1])
    x = np.arange(spec.width)
    inside = np.abs(x - foot[0]) < 46 * scale
    return np.broadcast_to(inside, (spec.height, spec.width))


def _texture(rng: np.random.Generator, name: str, spec: SceneSpec) -> NDArray[np.float32]:
    """A square piece of a photograph with grain, (S, S, 3) float32, mean near mid-grey."""
    photograph = _photograph(name)
    if rng.random() < 0.5:
        photograph = photograph[:, ::-1]
    photograph = np.roll(photograph, rng.integers(0, _TEXTURE_SIDE, 2), axis=(0, 1))
    tint = rng.uniform(-25, 25, 3).astype(np.float32)
    grain = cv2.resize(
        rng.standard_normal((_TEXTURE_SIDE // 4, _TEXTURE_SIDE // 4, 3), np.float32),
        (_TEXTURE_SIDE, _TEXTURE_SIDE),
        interpolation=cv2.INTER_CUBIC,
    )
    detail = photograph - photograph.mean((0, 1)) + 6 * grain
    return np.asarray(118 + np.float32(spec.contrast) * (detail + tint), np.float32)


@cache
def _photograph(name: str) -> NDArray[np.float32]:
    """An image of scikit-image as (S, S, 3) float32, mirrored so that it wraps around."""
    image = getattr(skimage.data, name)()
    image = np.stack([image] * 3, axis=-1) if image.ndim == 2 else image
    half = cv2.resize(image, (_TEXTURE_SIDE // 2,) * 2, interpolation=cv2.INTER_AREA)
    tall = np.concatenate([half, half[::-1]])
    return np.concatenate([tall, tall[:, ::-1]], axis=1).astype(np.float32)


def _warped(
    texture: NDArray[np.float32], placement_23: NDArray[np.float64], spec: SceneSpec
) -> NDArray[np.float32]:
    """A texture laid into the frame by an affine map; it repeats beyond its borders."""
    warped = cv2.warpAffine(
        texture, placement_23, (spec.width, spec.height), borderMode=cv2.BORDER_WRAP
    )
    return np.asarray(warped, np.float32)
