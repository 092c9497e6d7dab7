"""Whose background stands behind whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.pictures import caption, stack, strip
from pipeline.stage import GatherStage
from stages.evaluate.backgrounds.masked_video import MaskedVideo, VariantVideo
from stages.evaluate.backgrounds.variants import MIXED, VARIANTS
from stages.evaluate.split import rows_to_test
from storage_schemas.boxes import Boxes
from storage_schemas.donors import Box, DonorRow, Donors
from storage_schemas.errors import StageFailed
from storage_schemas.labels import Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

_PICTURED = 4


class ChooseDonors(GatherStage, name="donors", version=1):
    """Draw a donor of the background for each test video and mixed variant.

    Videos and donors are test videos that have a mask.

    Parameters
    ----------
    seed : int
    box : {"frame", "video"}
        What is taken out of a background: the tight box of the foreground in each frame, or one
        box around all of them. The first moves as the foreground does, so that the background
        still tells the motion.
    """

    seed: int = Field(0, ge=0)
    box: Box = "frame"

    def run(self, *, shards: Items[Shard], masks: Items[Boxes], labels: Labels) -> Donors:
        """Draw; see `choose_donors`."""
        _, rows = rows_to_test(labels, shards)
        label_of = {
            row.video_id: row.label
            for row in rows
            if row.video_id in masks and len(masks[row.video_id])
        }
        return Donors(choose_donors(label_of, labels.classes, seed=self.seed, box=self.box))

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """A frame of some videos in all variants, side by side."""
        assert isinstance(output, Donors)
        videos = list(dict.fromkeys(row.video_id for row in output.rows))
        chosen = [videos[i * len(videos) // _PICTURED] for i in range(min(_PICTURED, len(videos)))]
        variants = variant_videos(inputs["shards"], inputs["masks"], output)
        rows = []
        for video_id in chosen:
            middle = np.array([len(variants["Original"][video_id]) // 2])
            tiles = [
                caption(strip(list(found[video_id].decode(middle)), height=112), name)
                for name, found in variants.items()
            ]
            given = [row.donor_label for row in output.rows if row.video_id == video_id]
            text = f"{video_id}   before {', '.join(given)}"
            rows.append(caption(strip(tiles, height=len(tiles[0])), text))
        return stack(rows)


def choose_donors(
    label_of: Mapping[str, str], classes: Sequence[str], *, seed: int, box: Box = "frame"
) -> list[DonorRow]:
    """A donor for each video and mixed variant, never the video itself.

    Parameters
    ----------
    label_of : mapping of video id -> class
    classes : sequence of str
        In the order in which one is the next of another; the first is next to the last.
    seed : int
        A video's own draws depend on it, the video's id and who can be chosen.
    box : {"frame", "video"}
        Told in the rows.

    Notes
    -----
    Mixed-Same: of the video's class. Mixed-Rand: of a class that is drawn from all that are
    there, its own among them, so that the background tells nothing of the class. Mixed-Next:
    of the next class.

    Raises
    ------
    StageFailed
        If a class has no video to give.
    """
    of_class: dict[str, list[str]] = {name: [] for name in classes}
    for video_id, label in sorted(label_of.items()):
        of_class[label].append(video_id)
    following = dict(zip(classes, [*classes[1:], *classes[:1]], strict=True))
    rows = []
    for video_id, label in sorted(label_of.items()):
        for variant in MIXED:
            rng = np.random.default_rng([seed, crc32(f"{variant}/{video_id}".encode())])
            match variant:
                case "Mixed-Same":
                    name = label
                case "Mixed-Next":
                    name = following[label]
                case _:
                    able = [one for one in classes if set(of_class[one]) - {video_id}]
                    name = able[rng.integers(len(able))] if able else label
            others = [one for one in of_class[name] if one != video_id]
            if not others:
                raise StageFailed(
                    f"{variant} of {video_id!r} needs another test video of class {name!r} with "
                    "masks, and there is none; add one, or look at `tubelet quarantine list`"
                )
            donor = others[rng.integers(len(others))]
            rows.append(DonorRow(variant, video_id, label, donor, name, seed, box))
    return rows


def variant_videos(
    shards: Mapping[str, Shard],
    masks: Mapping[str, Boxes],
    donors: Donors,
) -> dict[str, dict[str, VariantVideo]]:
    """Every variant of every video that has donors, by variant and video id."""
    donor_of = {(row.variant, row.video_id): row.donor for row in donors.rows}
    names = dict.fromkeys(name for row in donors.rows for name in (row.video_id, row.donor))
    masked = {name: MaskedVideo(shards[name], masks[name]) for name in names}
    return {
        variant: {
            video_id: VariantVideo(
                variant,
                masked[video_id],
                masked.get(donor_of.get((variant, video_id), "")),
                donors.box,
            )
            for video_id in dict.fromkeys(row.video_id for row in donors.rows)
        }
        for variant in VARIANTS
    }
