"""A recipe's graph: steps (a stage bound to other steps), before parts and keys.

A recipe is a function that returns steps. Steps are plain frozen values, so overriding a
parameter is rebuilding the graph with another stage in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.wording import suggest
from storage_schemas.errors import ParameterError

if TYPE_CHECKING:
    from pipeline.stage import Stage


@dataclass(frozen=True, eq=False)
class Step:
    """A stage bound to its inputs (role -> steps); the unit a person sees in a plan.

    A role that gathers (``Items`` or a report) may be bound to several steps.
    """

    stage: Stage
    inputs: Mapping[str, tuple[Step, ...]]
    name: str

    @classmethod
    def bind(
        cls, stage: Stage, inputs: Mapping[str, Step | Sequence[Step] | None], *, name: str | None
    ) -> Step:
        """Check the inputs against the stage's signature and bind them.

        Raises
        ------
        ParameterError
            Naming the unknown or missing role and what the signature asks for.
        """
        name = name or stage.name
        bound = {
            role: (given,) if isinstance(given, Step) else tuple(given)
            for role, given in inputs.items()
            if given is not None
        }
        for role, steps in bound.items():
            if role not in stage.roles:
                hint = suggest(role, sorted(stage.roles))
                raise ParameterError(f"stage {name!r} has no input {role!r}; {hint}")
            wanted = stage.roles[role].noun
            for step in steps:
                if not issubclass(step.stage.output, wanted):
                    raise ParameterError(
                        f"input {role!r} of stage {name!r} must be {wanted.name!r}, but step "
                        f"{step.name!r} gives {step.stage.output.name!r}"
                    )
        for role, declared in stage.roles.items():
            if role not in bound and not declared.optional and role in stage.reads():
                raise ParameterError(
                    f"stage {name!r} needs its input {role!r} ({declared.noun.name}): "
                    f"bind it with .of({role}=...)"
                )
        return cls(stage=stage, inputs=bound, name=name)

    def __repr__(self) -> str:
        return f"Step({self.name!r})"


def walk(targets: Sequence[Step], *, unread: bool = False) -> Iterator[Step]:
    """Every step that the targets rest on, inputs before readers, each once.

    Inputs that a stage's parameters do not read (a method's unneeded annotations) are
    passed over, unless `unread` asks for them as well.
    """
    seen: set[int] = set()

    def visit(step: Step) -> Iterator[Step]:
        if id(step) in seen:
            return
        seen.add(id(step))
        reads = step.stage.reads()
        for role, steps in step.inputs.items():
            if unread or role in reads:
                for upstream in steps:
                    yield from visit(upstream)
        yield step

    for target in targets:
        yield from visit(target)


def rebuild(
    targets: Sequence[Step],
    change: Callable[[Step], Stage],
    rename: Callable[[Step], str] = lambda step: step.name,
) -> list[Step]:
    """The same graph with the stage of each step replaced by ``change(step)``."""
    made: dict[int, Step] = {}
    for step in walk(targets, unread=True):
        inputs = {role: tuple(made[id(s)] for s in steps) for role, steps in step.inputs.items()}
        made[id(step)] = Step(stage=change(step), inputs=inputs, name=rename(step))
    return [made[id(target)] for target in targets]


def check_names(targets: Sequence[Step]) -> None:
    """Raise `ParameterError` if two different steps share a name."""
    names: dict[str, Step] = {}
    for step in walk(targets):
        if names.setdefault(step.name, step) is not step:
            raise ParameterError(
                f"two steps are named {step.name!r}; give one of them .of(step_name=...)"
            )
