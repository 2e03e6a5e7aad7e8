"""The instructions of the Dockerfile."""

import re
from dataclasses import dataclass
from pathlib import Path

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"


@dataclass(frozen=True)
class Instruction:
    """An instruction, such as `RUN` or `COPY`, and what follows it; continued lines are joined."""

    name: str
    value: str


def instructions(text: str) -> list[Instruction]:
    """All instructions, in order."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def stages(text: str) -> list[list[Instruction]]:
    """The instructions of each stage; those before the first `FROM` belong to none."""
    found: list[list[Instruction]] = []
    for instruction in instructions(text):
        if instruction.name == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def base_image(text: str) -> str:
    """The base image of the last stage."""
    return stages(text)[-1][0].value.split()[0]
