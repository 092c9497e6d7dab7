"""What a stage is: frozen parameters, an identity, and a signature that declares the rest.

Subclass `VideoStage` for work done video by video and `GatherStage` for work on a whole
data set. The keyword-only parameters of ``process`` or ``run`` are the inputs, annotated
with nouns; the return annotation is the output noun. A misdeclared stage fails when its
class is defined.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.graph import Step
from pipeline.marks import Mark, box_marks
from pipeline.parameters import OWN, Parameters
from storage_schemas.boxes import Boxes
from storage_schemas.errors import StageDefinitionError
from storage_schemas.frames import Frames
from storage_schemas.manifest import ArtifactView
from storage_schemas.noun import FolderNoun, ItemNoun, Items, Noun


@dataclass(frozen=True)
class Role:
    """One input of a stage, read off its signature.

    ``many`` inputs get `Items` over all parts, the others one value.
    """

    noun: type[Noun]
    many: bool
    optional: bool


def _no_progress(fraction: float, text: str) -> None:
    return None


def _no_figures(name: str, values: Mapping[str, float]) -> None:
    return None


@dataclass(frozen=True)
class Context:
    """What a stage is told besides its parameters; never part of a key.

    Parameters
    ----------
    work : Path
        Folder that survives a kill and is deleted on commit: checkpoints go here.
    threads : int
        CPU threads this process may use.
    device : str
        Torch device string, or ``auto``.
    loader_workers : int or None
        Processes that make training views, for each device; None chooses by the device.
    progress : callable
        ``progress(fraction, text)`` for gather stages; video stages report by themselves.
    figures : callable
        ``figures(name, {figure: value})``: a row of a table that is watched while it grows,
        such as an epoch's. A row of a name that was there takes its place.
    """

    work: Path
    threads: int = 1
    device: str = "auto"
    loader_workers: int | None = None
    progress: Callable[[float, str], None] = field(default=_no_progress)
    figures: Callable[[str, Mapping[str, float]], None] = field(default=_no_figures)


class Stage(Parameters):
    """Base of all stages; its fields are its parameters and all of them are in the key.

    Class arguments: ``name`` and ``version``. Raise the version when the output for the
    same parameters changes; the golden digests in the tests remind you. What several
    stages repeat belongs to a kind, a base that declares itself with ``kind=True`` instead.
    """

    origin = OWN  # what a stage takes from a paper names it
    name: ClassVar[str]
    version: ClassVar[int]
    roles: ClassVar[Mapping[str, Role]]
    output: ClassVar[type[Noun]]
    entry: ClassVar[str] = ""  # "process" or "run"; empty for the two base kinds

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__()  # class arguments are read by the pydantic hook below

    @classmethod
    def __pydantic_init_subclass__(
        cls,
        *,
        name: str | None = None,
        version: int | None = None,
        kind: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if Stage in cls.__bases__ or kind:
            if name is not None or version is not None:
                raise StageDefinitionError(
                    f"{cls.__qualname__} is a kind and has no identity: leave out name and "
                    "version; a stage is a VideoStage or GatherStage without kind=True"
                )
            return
        if cls.entry == "scan":
            cls.name, cls.version = _identity(cls, name, version)
            return  # sources declare no inputs by signature
        cls.name, cls.version = _identity(cls, name, version)
        cls.roles, cls.output = _read_signature(cls)

    def uses_device(self) -> bool:
        """Whether it works on a GPU where there is one; such tasks may have to queue for it."""
        return False

    def reads(self) -> frozenset[str]:
        """Roles that these parameters really read; the others stay out of the key."""
        return frozenset(self.roles)

    def of(self, *, step_name: str | None = None, **inputs: Step | Sequence[Step] | None) -> Step:
        """Bind inputs, giving a `Step` of a recipe.

        ``step_name`` tells apart two steps of one stage; it defaults to the stage's name.
        An optional input may be None; a gathering one may be several steps.
        """
        return Step.bind(self, inputs, name=step_name)

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8] | None:
        """A picture of the result, (H, W, 3) uint8 RGB, for the report and the Prefect UI.

        Of one video for video stages (several are stacked), of the artifact for gather
        stages; `inputs` are what the stage read.
        """
        return None


class VideoStage(Stage):
    """A stage that works video by video, one part in and one part out.

    Define ``process(self, *, <inputs>, [ctx]) -> <ItemNoun>``. The loop, the journal,
    quarantine and progress belong to this kind, so a stage holds only its idea. Videos
    missing from any input (quarantined upstream) are left out.
    """

    entry: ClassVar[str] = "process"

    def write_part(
        self, folder: Path, items: Mapping[str, Mapping[str, pa.Table]]
    ) -> dict[str, int]:
        """Assemble the finished videos into the artifact; returns rows per file."""
        assert issubclass(self.output, ItemNoun)
        return self.output.write_part(folder, items)

    def marks(self, frame: int, output: Any, frames: Frames) -> Sequence[Mark]:
        """What is to be seen in a stored frame, for contact sheets and annotated videos.

        Boxes are shown by themselves, each column in its way; override this to add what
        is not stored. `marked_frame` decides which frames are asked for.
        """
        return box_marks(output, frame) if isinstance(output, Boxes) else ()

    def marked_frame(self, frame: int) -> int:
        """The frame whose marks stand for a stored frame: the last that was looked at.

        A stage that looks at every n-th frame has the parameter ``frame_stride``.
        """
        return frame - frame % getattr(self, "frame_stride", 1)

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8] | None:
        """A contact sheet of one video; None where neither output nor inputs are frames."""
        from pipeline.sheet import contact_sheet

        for value in (output, *inputs.values()):
            if isinstance(value, Frames):
                return contact_sheet(self, output, value)
        return None


class GatherStage(Stage):
    """A stage that reads whole data sets (or nothing) and writes one artifact.

    Define ``run(self, *, <inputs>, [ctx]) -> <FolderNoun>`` and return the value; it is
    written by its ``write(folder)``. What must survive a kill goes to ``ctx.work``.
    """

    entry: ClassVar[str] = "run"

    def pictured(self, output: Any, **inputs: Any) -> Sequence[str]:
        """Videos that `sheet` and `film` can be asked for; by default none."""
        return ()

    def sheet(self, video_id: str, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """A contact sheet of one video, for ``tubelet show``."""
        raise NotImplementedError

    def film(
        self, video_id: str, output: Any, **inputs: Any
    ) -> tuple[Iterator[NDArray[np.uint8]], NDArray[np.float64]]:
        """A film of one video, for ``tubelet show``: images of one size, and their times."""
        raise NotImplementedError


def _identity(cls: type[Stage], name: str | None, version: int | None) -> tuple[str, int]:
    if name is None or version is None:
        raise StageDefinitionError(
            f"{cls.__qualname__} needs an identity: "
            f'class {cls.__name__}({cls.__bases__[0].__name__}, name="...", version=1)'
        )
    return name, version


def _read_signature(cls: type[Stage]) -> tuple[dict[str, Role], type[Noun]]:
    function = getattr(cls, cls.entry, None)
    if function is None:
        raise StageDefinitionError(f"{cls.__qualname__} must define {cls.entry}(self, *, ...)")
    where = f"{cls.__qualname__}.{cls.entry}"
    hints = typing.get_type_hints(function)
    per_video = issubclass(cls, VideoStage)
    roles = {}
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise StageDefinitionError(
                f"{where}: make {parameter.name!r} keyword-only, put `*` after self"
            )
        if parameter.name == "ctx":
            continue
        if parameter.name not in hints:
            raise StageDefinitionError(f"{where}: annotate {parameter.name!r} with a noun")
        roles[parameter.name] = _role(
            hints[parameter.name],
            optional=parameter.default is None,
            where=f"{where}, {parameter.name!r}",
        )
    for name, role in roles.items():
        if per_video and (role.many or not issubclass(role.noun, ItemNoun)):
            raise StageDefinitionError(
                f"{where}: {name!r} must be the noun of one video, such as `frames: Frames`"
            )
        if not per_video and issubclass(role.noun, ItemNoun) and not role.many:
            raise StageDefinitionError(
                f"{where}: a gather stage reads all videos, write `{name}: "
                f"Items[{role.noun.__name__}]`"
            )
    output = hints.get("return")
    kind = ItemNoun if per_video else FolderNoun
    if not (inspect.isclass(output) and issubclass(output, kind)):
        raise StageDefinitionError(
            f"{where} returns {output!r}; annotate it with the {kind.__name__} it writes"
        )
    return roles, output


def _role(hint: Any, *, optional: bool, where: str) -> Role:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (hint,) = [arg for arg in typing.get_args(hint) if arg is not type(None)]
    if hint == Sequence[ArtifactView]:
        # The lineage of a report: any artifacts, handed over with all they rest on.
        return Role(noun=Noun, many=True, optional=optional)
    many = typing.get_origin(hint) is Items
    noun = typing.get_args(hint)[0] if many else hint
    if not (inspect.isclass(noun) and issubclass(noun, Noun)):
        raise StageDefinitionError(f"{where}: {hint!r} is no noun of storage_schemas")
    return Role(noun=noun, many=many, optional=optional)
