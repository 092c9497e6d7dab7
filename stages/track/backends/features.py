"""Moving objects, followed by labels that spread along the features of a trained encoder."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.input_file import InputFile
from stages.learning.standardisation import IMAGENET, Channels
from stages.track.backends.motion import Motion
from stages.track.flow import Motion as Flow
from stages.track.footage import Footage
from stages.track.tube import Patch, Tube
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import ParameterError

_STAGES = {4: 2, 8: 3}  # residual stages of the encoder up to a spatial stride
_BATCH = 16  # frames that go through the encoder together


class Features(Motion, version=2):
    """Tubes of ``motion``, whose masks are propagated from the best frame of each.

    A tube then reaches over all frames between its first and its last one, also those in
    which nothing moved; a row's score is the IoU of the propagated mask with what the frame
    shows by itself.

    Parameters
    ----------
    weights : InputFile
        ``encoder.pt`` of an encoder artifact, of this or another store.
    mean, std : (float, float, float)
        Of RGB in 0..1: what the encoder's input was standardised with, as its
        ``encoder.json`` says.
    stride : {4, 8}
        Of the feature map, in working pixels.
    context : int
        Frames before the one at hand that labels come from, beside the first.
    neighbours : int
        Best matches that a label comes from.
    radius : int
        How far an object moves from frame to frame, in cells of the feature map.
    temperature : float
        Of the softmax over the matches.
    min_motion, noise_factor : float
        As of ``motion``.

    References
    ----------
    Jabri et al., *Space-Time Correspondence as a Contrastive Random Walk*, NeurIPS 2020
    (the propagation; its radius and number of frames are parameters here).
    """

    weights: InputFile
    mean: Channels = IMAGENET.mean
    std: Channels = IMAGENET.std
    stride: Literal[4, 8] = 4
    context: int = Field(4, ge=1)
    neighbours: int = Field(5, ge=1)
    radius: int = Field(6, ge=1)
    temperature: float = Field(0.05, gt=0)

    def follow(self, tubes: list[Tube], footage: Footage, motion: Flow) -> list[Tube]:
        """The tubes with propagated masks."""
        self._check_neighbour()
        encoder = _load(self.weights, _STAGES[self.stride])
        return [self._follow(tube, footage, encoder) for tube in tubes]

    def _check_neighbour(self) -> None:
        """Weights of an artifact of ours lie beside what they are fed with."""
        path = self.weights.path
        if not path.with_name("encoder.json").exists():
            return
        theirs = EncoderFiles.open(path.parent)
        if (list(self.mean), list(self.std)) != (list(theirs.mean), list(theirs.std)):
            raise ParameterError(
                f"{path} was trained on input of mean {theirs.mean} and deviation {theirs.std}, "
                f"not {self.mean} and {self.std}: set track.backend.mean and track.backend.std"
            )

    def _follow(self, tube: Tube, footage: Footage, encoder: Any) -> Tube:
        first, last = min(tube.patches), max(tube.patches)
        images = np.stack([footage.colour(t) for t in range(first, last + 1)])
        features = _features(encoder, images, mean=self.mean, std=self.std)
        seed = max(tube.strengths, key=lambda t: (tube.scores[t], -t))
        shape = images.shape[1:3]
        label_HW = tube.patches[seed].paste(shape)
        out = Tube(strengths=tube.strengths)
        for frames in (range(seed, last + 1), range(seed, first - 1, -1)):
            order = np.array([t - first for t in frames])
            masks = propagate(
                features[order],
                label_HW,
                context=self.context,
                neighbours=self.neighbours,
                radius=self.radius,
                temperature=self.temperature,
            )
            for t, mask in zip(frames, masks, strict=True):
                if mask.any():
                    out.patches[t] = Patch.of(mask)
                    out.scores[t] = _agreement(out.patches[t], tube, t)
        return out


def propagate(
    features_TChw: Any,
    label_HW: NDArray[np.uint8],
    *,
    context: int,
    neighbours: int,
    radius: int,
    temperature: float,
) -> list[NDArray[np.uint8]]:
    """Masks (H, W), 0 or 1, of T frames, the first of which is labelled.

    Parameters
    ----------
    features_TChw : Tensor of shape (T, C, h, w)
        Of length 1 over the channels.
    label_HW : ndarray of shape (H, W), uint8
        Mask in the first frame.
    context, neighbours, radius, temperature
        See `Features`.

    Notes
    -----
    A cell takes the labels of its most similar cells in the first frame, anywhere, and in
    the frames before it, nearby. Each class map is stretched to 0..1 before they compete.
    """
    import torch
    from torch.nn import functional

    count, channels, height, width = features_TChw.shape
    cells = features_TChw.reshape(count, channels, -1)
    soft = functional.interpolate(
        torch.from_numpy(label_HW)[None, None].float(), size=(height, width), mode="area"
    ).reshape(-1)
    labels = [torch.stack([1 - soft, soft])]
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([row.reshape(-1), column.reshape(-1)], dim=1).float()
    far = torch.cdist(place, place) > radius
    masks = [label_HW]
    for t in range(1, count):
        before = list(range(max(1, t - context), t))
        affinity = [cells[t].T @ cells[0]]
        affinity += [(cells[t].T @ cells[i]).masked_fill(far, -torch.inf) for i in before]
        best, index = torch.cat(affinity, dim=1).topk(min(neighbours, height * width), dim=1)
        weight = torch.softmax(best / temperature, dim=1)
        known = torch.cat([labels[i] for i in (0, *before)], dim=1)
        labels.append((known[:, index] * weight).sum(dim=2))
        low, high = labels[t].amin(1, keepdim=True), labels[t].amax(1, keepdim=True)
        stretched = (labels[t] - low) / (high - low).clamp_min(1e-6)
        maps = functional.interpolate(
            stretched.reshape(1, 2, height, width), size=label_HW.shape, mode="bilinear"
        )[0]
        masks.append(_largest((maps[1] > maps[0]).numpy().astype(np.uint8)))
    return masks


def _largest(mask_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest connected part of a mask; single cells go astray."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask_HW)
    if count < 3:
        return mask_HW
    return (labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)


def _agreement(patch: Patch, tube: Tube, t: int) -> float:
    """IoU with what the frame shows by itself, 0 where it shows nothing."""
    if t not in tube.strengths:
        return 0.0
    both = patch.overlap(tube.patches[t])
    return both / (patch.area + tube.patches[t].area - both)


def _load(weights: InputFile, stages: int) -> Any:
    """The first stages of the encoder that a state dict holds."""
    from torch import nn

    from stages.learning.encoders import load_state
    from stages.learning.encoders.resnet18 import r3d18
    from stages.learning.encoders.resnet50 import one_branch

    state = one_branch(load_state(weights.path), "global")
    try:
        encoder = r3d18(len(state["stem.0.weight"]))
        encoder.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        raise ParameterError(
            f"{weights.path} holds no r3d18 encoder, which is the one that tubes can be "
            f"followed with; give the encoder.pt of one ({str(error)[:200]})"
        ) from error
    return nn.Sequential(encoder.stem, encoder.stages[:stages]).eval()


def _features(
    encoder: Any, images_THWC: NDArray[np.uint8], *, mean: Channels, std: Channels
) -> Any:
    """Feature maps (T, C, h, w) of length 1, each frame a clip of its own."""
    import torch
    from torch.nn import functional

    from stages.learning.pixels import normalise

    found = []
    with torch.inference_mode():
        for start in range(0, len(images_THWC), _BATCH):
            batch = torch.from_numpy(images_THWC[start : start + _BATCH])
            clips = normalise(batch[:, None], mean=mean, std=std)
            found.append(encoder(clips)[:, :, 0])
        maps = torch.cat(found)
        # After a ReLU all features point the same way; what tells cells apart is the rest.
        return functional.normalize(maps - maps.mean((0, 2, 3), keepdim=True), dim=1)
