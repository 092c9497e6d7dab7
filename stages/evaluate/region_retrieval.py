"""Same-object retrieval: a region of one view is looked for among the regions of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.marks import Mark, draw_marks
from pipeline.pictures import caption, stack, strip
from pipeline.stage import Context, GatherStage
from pipeline.wording import counted
from stages.evaluate.figures import remark
from stages.evaluate.neighbours import nearest, unit
from stages.evaluate.region_pairs import RegionPair, RegionPairs
from stages.evaluate.scoring import ranked, score
from stages.evaluate.split import rows_to_test
from stages.evaluate.stream import decoded_ahead, decoders_for, evaluation_devices
from stages.learning.method import ExpectsRegions
from storage_schemas.boxes import Boxes
from storage_schemas.encoders import EncoderFiles
from storage_schemas.labels import Labels
from storage_schemas.metrics import Answers, MetricRow, Metrics
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PROTOCOL = "same-object retrieval"
DECODER = "by the decoder"
_BINS = 4
_SHOWN, _HEIGHT = 4, 96
_QUERY, _RIGHT, _WRONG = 4, 5, 0  # of the palette; blue and red as in retrieval


class RegionRetrieval(RegionPairs, GatherStage, name="region_retrieval", version=1):
    """R@k of an object of each test video, in another view of the video.

    ``in its video`` the object is looked for among the other objects of that view and
    places of its size without one; ``in N videos`` among all objects of the second views
    of all test videos. Regions are compared by cosine.

    Parameters
    ----------
    ks : tuple of int
        A k that finds everything is left out.
    branch : {"region", "global"}
        Which map of an encoder that was pretrained with two.
    random_seed : int or None
        Of the random encoder that stands beside a trained one; None leaves it out.

    Notes
    -----
    A region is the average of 4 x 4 samples of the map's middle frame, its positions scaled
    to unit length (constcl.md section 4.2). An encoder that was pretrained here keeps the
    form it was trained in, whose map may be finer or have two branches. ``by the decoder``:
    the query is what ConST-CL's decoder expects of the region in the other view.

    One object a video, so that videos can be drawn again for the interval. A video is left
    out if no object is in both views, and ``in its video`` also if the object leaves no
    room for enough others of its size.
    """

    ks: tuple[int, ...] = Field((1, 5), min_length=1)
    branch: Literal["region", "global"] = "region"
    random_seed: int | None = Field(0, ge=0)

    def uses_device(self) -> bool:
        """Its network runs there."""
        return True

    def run(
        self,
        *,
        encoder: EncoderFiles,
        shards: Items[Shard],
        boxes: Items[Boxes],
        split: Labels | None = None,
        ctx: Context,
    ) -> Metrics:
        """Look at every test video; at all videos, where there is no `split`.

        No numbers if no object is in both views of any video.
        """
        import torch

        tested, video_ids = "all", list(shards)
        if split is not None:
            tested, rows = rows_to_test(split, shards, classed=False)
            video_ids = [row.video_id for row in rows]
        known = [video_id for video_id in video_ids if video_id in boxes]
        device = evaluation_devices(ctx.device)[0]
        look = self._looker(encoder, device)
        asked = Asked()
        with torch.inference_mode():
            for i, (video_id, found) in enumerate(self._views(known, shards, boxes, device)):
                if found is not None:
                    pair, views_2THWC = found
                    asked.add(video_id, pair, look(pair, torch.from_numpy(views_2THWC).to(device)))
                ctx.progress((i + 1) / len(known), counted(i + 1, "video"))
        answers = [
            one
            for name in asked.queries
            for one in (self._in_its_video(asked, name, tested), self._in_all(asked, name, tested))
            if one is not None
        ]
        return Metrics([row for one in answers for row in self._rows(one)], answers, asked.names)

    def _views(
        self,
        video_ids: list[str],
        shards: Items[Shard],
        boxes: Items[Boxes],
        device: torch.device,
    ) -> Iterator[tuple[str, tuple[RegionPair, NDArray[np.uint8]] | None]]:
        def cut(video_id: str) -> tuple[RegionPair, NDArray[np.uint8]] | None:
            video = shards[video_id]
            pair = self.pair(video, boxes[video_id])
            return None if pair is None else (pair, pair.cut(video))

        return decoded_ahead(
            ((one, one) for one in video_ids),
            cut,
            nbytes=2 * self.num_frames * self.size**2 * 3,
            decoders=decoders_for(device),
        )

    def _looker(self, files: EncoderFiles, device: torch.device) -> Any:
        """Function of a pair and its views: encoder and form -> region of the query, of offers."""
        import torch

        from stages.learning.encoder_spec import EncoderSpec
        from stages.learning.encoders import load_encoder, random_encoder
        from stages.learning.objective import load_objective
        from stages.learning.pixels import normalise
        from stages.learning.region_contrast import regions_and_context

        objective = load_objective(files).to(device) if files.method else None
        method = objective.method if objective is not None else None
        encoders: dict[str, Any] = {
            files.origin: objective.encoder if objective is not None else load_encoder(files)
        }
        if self.random_seed is not None and files.origin != "random":
            encoders["random"] = random_encoder(
                EncoderSpec.model_validate(files.parameters),
                seed=self.random_seed,
                **(method.encoder_options if method is not None else {}),
            )
        encoders = {name: one.to(device).eval() for name, one in encoders.items()}

        def maps(encoder: Any, pixels: Tensor, branch: str) -> Tensor:
            two = branch == "region" and hasattr(encoder, "region_stage")
            found: Tensor = encoder.both_maps(pixels)[1] if two else encoder(pixels)
            return found

        def look(
            pair: RegionPair, views_2THWC: Tensor
        ) -> dict[tuple[str, str], tuple[NDArray[np.float32], NDArray[np.float32]]]:
            pixels = normalise(views_2THWC, mean=files.mean, std=files.std)
            asked_M4 = np.broadcast_to(pair.query_4, pair.offers_M4.shape)
            boxes_2M4 = torch.from_numpy(np.stack([asked_M4, pair.offers_M4])).to(device)
            found = {}
            for name, encoder in encoders.items():
                map_2CTHW = maps(encoder, pixels, self.branch)
                regions_2MC, _ = regions_and_context(
                    map_2CTHW, boxes_2M4 / self.size, context=1, bins=_BINS
                )
                query_MC, offers_MC = regions_2MC.float().cpu().numpy()
                found[name, ""] = query_MC[0], offers_MC
            if objective is not None and isinstance(method, ExpectsRegions):
                map_2CTHW = maps(objective.encoder, pixels, "region")
                expected, regions = method.expect_regions(
                    objective, map_2CTHW, boxes_2M4[None] / self.size
                )
                found[files.origin, DECODER] = (
                    expected[0, 0, 0].float().cpu().numpy(),
                    regions[0, 1].float().cpu().numpy(),
                )
            return found

        return look

    def _in_its_video(self, asked: Asked, name: tuple[str, str], tested: str) -> Answers | None:
        """Ranks of the boxes of each second view."""
        full = [i for i, m in enumerate(asked.counts) if m == self.num_offers]
        if not full:
            return None
        queries_VC = unit(np.stack([asked.queries[name][i] for i in full]))
        offers_VMC = unit(np.stack([asked.offers[name][i] for i in full]))
        order_VM, cosine_VM = ranked(np.einsum("vc,vmc->vm", queries_VC, offers_VMC))
        first_V = np.array([asked.firsts[i] for i in full], np.int32)
        return Answers(
            PROTOCOL,
            _preset(f"in its video, {self.num_offers} regions", name),
            name[0],
            tested,
            [asked.video_ids[i] for i in full],
            first_V,
            first_V[:, None] + order_VM,
            cosine_VM,
        )

    def _in_all(self, asked: Asked, name: tuple[str, str], tested: str) -> Answers:
        """The nearest objects of all second views."""
        counts = [len(pair.names) for pair in asked.pairs]
        gallery_GC = np.concatenate(
            [offers_MC[:m] for offers_MC, m in zip(asked.offers[name], counts, strict=True)]
        )
        number_G = np.concatenate(
            [first + np.arange(m) for first, m in zip(asked.firsts, counts, strict=True)]
        )
        indices_VK, cosine_VK = nearest(np.stack(asked.queries[name]), gallery_GC, max(self.ks))
        return Answers(
            PROTOCOL,
            _preset(f"in {len(counts)} videos, {len(gallery_GC)} objects", name),
            name[0],
            tested,
            asked.video_ids,
            np.array(asked.firsts, np.int32),
            number_G[indices_VK].astype(np.int32),
            cosine_VK,
        )

    def _rows(self, answers: Answers) -> list[MetricRow]:
        whole = answers.preset.startswith("in its video")
        ks = [k for k in self.ks if not whole or k < self.num_offers]
        return score(answers, [f"R@{k}" for k in ks], version=self.version)

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """Objects with the five nearest of all videos; blue boxes are right, red ones wrong."""
        if not output.answers:
            return remark("no numbers: no object is in both views of any test video")
        shards, boxes = inputs["shards"], inputs["boxes"]
        pairs: dict[str, RegionPair] = {}

        def shown(name: str, view: int, colour: int) -> NDArray[np.uint8]:
            video_id, _, thing = name.rpartition("#")
            pair = pairs.get(video_id) or self.pair(shards[video_id], boxes[video_id])
            assert pair is not None
            pairs[video_id] = pair
            box_4 = pair.offers_M4[pair.names.index(thing)] if view else pair.query_4
            return draw_marks(
                pair.middle(shards[video_id], view),
                [Mark(colour=colour, xyxy=box_4)],
                scale=_HEIGHT / self.size,
            )

        blocks = []
        for answers in output.answers:
            if answers.preset.startswith("in its video"):
                continue
            lines = []
            for i in np.unique(np.linspace(0, len(answers.video_ids) - 1, _SHOWN, dtype=int)):
                label = answers.labels_V[i]
                frames = [shown(output.classes[label], 0, _QUERY)]
                for found in answers.ranked_VK[i]:
                    frames.append(
                        shown(output.classes[found], 1, _RIGHT if found == label else _WRONG)
                    )
                lines.append(strip(frames, height=_HEIGHT))
            text = f"{answers.encoder}, {answers.preset}: object, nearest; blue is right, red wrong"
            blocks.append(caption(stack(lines), text))
        return stack(blocks)


@dataclass
class Asked:
    """Regions of all videos, as they come: encoder and form -> one entry a video."""

    video_ids: list[str] = field(default_factory=list)
    pairs: list[RegionPair] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    queries: dict[tuple[str, str], list[NDArray[np.float32]]] = field(default_factory=dict)
    offers: dict[tuple[str, str], list[NDArray[np.float32]]] = field(default_factory=dict)

    def add(
        self,
        video_id: str,
        pair: RegionPair,
        seen: Mapping[tuple[str, str], tuple[NDArray[np.float32], NDArray[np.float32]]],
    ) -> None:
        """One video: the regions of its query and of its offers."""
        self.video_ids.append(video_id)
        self.pairs.append(pair)
        self.firsts.append(len(self.names))
        unnamed = range(len(pair.offers_M4) - len(pair.names))
        self.names += [f"{video_id}#{name}" for name in pair.names]
        self.names += [f"{video_id}#place {i}" for i in unnamed]
        for name, (query_C, offers_MC) in seen.items():
            self.queries.setdefault(name, []).append(query_C)
            self.offers.setdefault(name, []).append(offers_MC)

    @property
    def counts(self) -> list[int]:
        """Boxes that each video offers."""
        return [len(pair.offers_M4) for pair in self.pairs]


def _preset(text: str, name: tuple[str, str]) -> str:
    return ", ".join(part for part in (text, name[1]) if part)
