"""A strict reader of the Dockerfiles: instructions by build stage, as far as we use them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = {
    "FROM", "ARG", "RUN", "COPY", "ENV", "WORKDIR", "USER", "VOLUME", "ENTRYPOINT", "CMD",
}  # fmt: skip


@dataclass
class BuildStage:
    """A FROM and what follows it, up to the next: (instruction, argument) in order."""

    image: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [argument for name, argument in self.instructions if name == instruction]

    @property
    def environment(self) -> dict[str, str]:
        return self._pairs("ENV")

    @property
    def arguments(self) -> dict[str, str]:
        return self._pairs("ARG")

    def _pairs(self, instruction: str) -> dict[str, str]:
        pairs = (pair for argument in self.all(instruction) for pair in shlex.split(argument))
        return dict(pair.split("=", 1) for pair in pairs)


def read(path: Path) -> list[BuildStage]:
    """Build stages of a Dockerfile; an instruction that is not in `KNOWN` is an error."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    stages: list[BuildStage] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        instruction, argument = line.split(maxsplit=1)
        if instruction == "FROM":
            image, _, name = argument.partition(" AS ")
            stages.append(BuildStage(image, name))
        elif instruction not in KNOWN:
            raise ValueError(f"{path.name}: instruction {instruction!r} is not one we use")
        else:
            stages[-1].instructions.append((instruction, argument))
    return stages
