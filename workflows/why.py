"""The command ``why``: an artifact's lineage down to the source videos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from pipeline.digests import Digests
from pipeline.store import Store, open_store
from pipeline.wording import counted
from storage_schemas.manifest import Manifest
from storage_schemas.videos import VideoFile
from workflows.options import KeyOrStage, StoreDir, console
from workflows.runs import find_keys
from workflows.session import DEFAULT_STORE

_VIDEOS = 8


def why(
    what: KeyOrStage,
    all_: Annotated[bool, typer.Option("--all", help="Every part and every video.")] = False,
    store: StoreDir = DEFAULT_STORE,
) -> None:
    """Tell how an artifact came about: all it rests on, down to the source videos.

    Steps with their parameters, the videos with digests and places, and the code and
    libraries it was computed with. Parts of one step are told together.
    """
    lineage = Lineage(open_store(store))
    lineage.tell(find_keys(lineage.store, what)[-1:], "", 0, all_)
    lineage.tell_videos(all_)
    lineage.tell_software()


class Lineage:
    """Follows keys through the manifests of a store, and remembers what it has told."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._seen: dict[str, Manifest] = {}

    def tell(self, keys: Sequence[str], role: str, depth: int, every: bool) -> None:
        """Print artifacts, those of one step as one, and all they rest on below them."""
        by_step: dict[str, list[Manifest]] = {}
        for key in keys:
            if self.store.damage(key) == "absent":
                self._say(f"{role}{key}: no longer in the store", depth)
            else:
                manifest = self._seen.get(key) or self.store.read_manifest(key)
                by_step.setdefault(manifest.step, []).append(manifest)
        for manifests in by_step.values():
            new = [manifest for manifest in manifests if manifest.key not in self._seen]
            first = manifests[0]
            where = f" part {first.part}" if first.part else ""
            if len(manifests) > 1:
                where = f", {counted(len(manifests), 'part')}"
            names = [m.key for m in manifests]
            if not every and len(names) > 2:
                names = [names[0], "…", names[-1]]
            again = "" if new else " (see above)"
            self._say(f"{role}{first.step}{where}: {' '.join(names)}{again}", depth)
            if not new:
                continue
            self._seen |= {manifest.key: manifest for manifest in new}
            code = f", {first.code}" if first.code else ""
            self._say(f"    {first.stage} version {first.stage_version}{code}", depth)
            self._say(f"    made {first.created} on {first.host}", depth)
            for name, value in first.parameters.items():
                self._say(f"    {name} = {value}", depth)
            for upstream in dict.fromkeys(role for m in new for role in m.inputs):
                inputs = [key for manifest in new for key in manifest.inputs.get(upstream, ())]
                self.tell(list(dict.fromkeys(inputs)), f"{upstream} <- ", depth + 1, every)

    def tell_videos(self, every: bool) -> None:
        """Print the source videos: digest, size, and where they were last seen."""
        videos = [
            video
            for manifest in self._seen.values()
            if manifest.noun == VideoFile.name
            for video in VideoFile.open_part(self.store.folder(manifest.key)).values()
        ]
        if not videos:
            return
        digests = Digests(self.store.root / "digests.sqlite")
        places = digests.places({video.digest for video in videos})
        digests.close()
        console.print(f"source videos: {len(videos)}, {sum(v.bytes for v in videos):,} bytes")
        for video in videos if every else videos[:_VIDEOS]:
            path = next(iter(places.get(video.digest, [])), None)
            self._say(f"    {video.video_id}  {video.digest}  {path or 'made by a stage'}", 0)
        if len(videos) > _VIDEOS and not every:
            console.print(f"    … and {len(videos) - _VIDEOS} more; --all names them")

    def tell_software(self) -> None:
        """Print code and libraries; where artifacts differ, which steps each was of."""
        used: dict[str, dict[str, list[str]]] = {}
        for manifest in self._seen.values():
            for name, version in {"code": manifest.code, **manifest.libraries}.items():
                steps = used.setdefault(name, {}).setdefault(version or "not recorded", [])
                if manifest.step not in steps:
                    steps.append(manifest.step)
        console.print("computed with")
        for name, versions in used.items():
            for version, steps in versions.items():
                of = f" ({', '.join(steps)})" if len(versions) > 1 else ""
                self._say(f"    {name}: {version}{of}", 0)

    def _say(self, text: str, depth: int) -> None:
        console.print(f"{'  ' * depth}{text}", markup=False, highlight=False, soft_wrap=True)
