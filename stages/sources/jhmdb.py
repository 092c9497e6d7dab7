"""JHMDB layout: HMDB's lists, videos or frames, and a puppet mask of the actor in each frame.

::

    ReCompress_Videos/<class>/<clip>.avi     or Rename_Images/<class>/<clip>/00001.png, ...
    splits/<class>_test_split{1,2,3}.txt     lines ``<clip>.avi <tag>``
    puppet_mask/<class>/<clip>/puppet_mask.mat    ``part_mask`` of shape (H, W, T)

The masks are a source of their own with the ids of their videos, so a replaced mask changes
what rests on it and no more. They are bound beside the frames::

    frames = Decode().of(videos=Jhmdb().of())
    truth = PuppetMasks().of(masks=JhmdbMasks().of(), frames=frames)

References
----------
Jhuang et al., *Towards understanding action recognition*, ICCV 2013; specs/downstream.md
section 10.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.found_file import FoundFile
from pipeline.source import Digest, Listing, Source
from pipeline.stage import Stage, VideoStage
from stages.sources.hmdb51 import read_tagged_lists
from stages.sources.listed import annotation_of, find_videos, in_class_folder, match
from storage_schemas.boxes import Boxes, encode_mask
from storage_schemas.errors import BadVideo, SourceError
from storage_schemas.frames import Frames
from storage_schemas.videos import UNREADABLE, VideoFile

NUM_CLIPS = 928
_MASK = "puppet_mask.mat"


class Jhmdb(Source, name="jhmdb", version=1):
    """Videos, classes and one of the three official splits.

    A video's id is ``<class>/<clip>.avi``. A clip without a video is read from its frames.
    """

    path: Path = Path("jhmdb")
    split: Literal[1, 2, 3] = 1

    def scan(self, *, digest: Digest, dataset: tuple[Stage, str] | None) -> Listing:
        """List the clips of the split in the order of their ids."""
        root = self.path.expanduser()
        rows, unused = read_tagged_lists(root, self.split)
        images = root / "Rename_Images"
        folders = {f"{in_class_folder(p)}.avi": p for p in images.glob("*/[!.]*") if p.is_dir()}
        videos, repeated = find_videos(root / "ReCompress_Videos", in_class_folder)
        listing = match(rows, {**folders, **videos}, digest=digest, unused=unused)
        if not listing.videos:
            raise SourceError(
                f"{root} holds none of the {len(rows)} clips of split {self.split}; they are "
                "ReCompress_Videos/<class>/<clip>.avi or folders Rename_Images/<class>/<clip>. "
                f"Set --set {self.name}.path=DIR"
            )
        count = f"{len(listing.videos)} of {NUM_CLIPS} official clips are there"
        return Listing(listing.videos, listing.labels, [count, *listing.notes, *repeated])


class JhmdbMasks(Source, name="jhmdb_masks", version=1):
    """The file of puppet masks of each clip, under the clip's id."""

    path: Path = Path("jhmdb")

    def scan(self, *, digest: Digest, dataset: tuple[Stage, str] | None) -> Listing:
        """List the files of masks in the order of their clips' ids."""
        root = self.path.expanduser() / "puppet_mask"
        found = {f"{in_class_folder(p.parent)}.avi": p for p in root.glob(f"*/*/{_MASK}")}
        if not found:
            raise SourceError(
                f"{root} holds no <class>/<clip>/{_MASK}; unpack the official puppet_mask.zip, "
                f"and set --set {self.name}.path=DIR to the folder above"
            )
        ids = sorted(found)
        files = [FoundFile.at(found[video_id]) for video_id in ids]
        contents = digest(files)
        videos = [
            annotation_of(video_id, file, digest=content)
            for video_id, file, content in zip(ids, files, contents, strict=True)
        ]
        count = f"masks of {len(videos)} of {NUM_CLIPS} official clips are there"
        return Listing(videos=videos, notes=[count])


class PuppetMasks(VideoStage, name="puppet_masks", version=1):
    """The actor's mask and tight box in each stored frame, as track 0.

    A frame whose mask is empty, or that comes after the last mask, has no row.
    """

    def process(self, *, masks: VideoFile, frames: Frames) -> Boxes:
        """Masks of the stored frames, in their size."""
        if masks.digest.startswith(UNREADABLE):
            raise BadVideo(f"{_MASK} cannot be read: {masks.digest.removeprefix(UNREADABLE)}")
        assert masks.path is not None
        masks_THW = read_part_mask(masks.path)
        if len(masks_THW) > frames.probe.frames_decoded:
            raise BadVideo(
                f"{len(masks_THW)} masks for {frames.probe.frames_decoded} frames, so they are "
                f"not of this video; unpack puppet_mask.zip and the videos again",
                video_id=frames.video_id,
            )
        kept = np.flatnonzero(frames.source_frames < len(masks_THW)).astype(np.int32)
        in_file = frames.source_frames[kept]
        at_size = resized(masks_THW[in_file], height=frames.height, width=frames.width)
        filled = np.logical_or.reduce(at_size, axis=(1, 2))
        return Boxes(
            video_id=frames.video_id,
            num_frames=len(frames),
            height=frames.height,
            width=frames.width,
            frame=kept[filled],
            xyxy=tight_boxes(at_size[filled]),
            track=np.zeros(int(filled.sum()), np.int32),
            mask_runs=[encode_mask(mask_HW) for mask_HW in at_size[filled]],
        )


def read_part_mask(path: Path) -> NDArray[np.bool_]:
    """Masks (T, H, W) of a file ``puppet_mask.mat``; a single one may lack its last axis.

    Raises
    ------
    BadVideo
        If the file is no MATLAB file, or holds no array ``part_mask``.
    """
    import scipy.io

    try:
        mask = np.asarray(scipy.io.loadmat(path, variable_names=["part_mask"])["part_mask"])
    except Exception as error:  # SciPy raises whatever it met in a damaged file
        raise BadVideo(
            f"{path.name} cannot be read as MATLAB's part_mask: {error}; unpack it again"
        ) from error
    if mask.ndim not in (2, 3):
        raise BadVideo(f"part_mask has shape {mask.shape}, not (H, W, T)")
    return np.moveaxis(np.atleast_3d(mask) != 0, 2, 0)


def resized(masks_THW: NDArray[np.bool_], *, height: int, width: int) -> NDArray[np.bool_]:
    """Masks in another size, by the pixel that lies nearest to each centre."""
    ys = ((np.arange(height) + 0.5) * masks_THW.shape[1] / height).astype(int)
    xs = ((np.arange(width) + 0.5) * masks_THW.shape[2] / width).astype(int)
    return masks_THW[:, ys[:, None], xs]


def tight_boxes(masks_THW: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Half-open boxes (T, 4) around masks, none of which is empty."""
    rows_TH = np.logical_or.reduce(masks_THW, axis=2)
    columns_TW = np.logical_or.reduce(masks_THW, axis=1)
    corners = [
        columns_TW.argmax(1),
        rows_TH.argmax(1),
        columns_TW.shape[1] - columns_TW[:, ::-1].argmax(1),
        rows_TH.shape[1] - rows_TH[:, ::-1].argmax(1),
    ]
    return np.stack(corners, axis=1).astype(np.float32)
