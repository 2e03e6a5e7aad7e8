"""Loading of a `Config` from a YAML file; reports every problem with file, line and key."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from exporter.config.schema import Config
from exporter.errors import ExitCode, UserError

KeyPath = tuple[str | int, ...]  # the keys and indexes that lead to a value

_MESSAGES = {
    "string_type": "must be text; put it in quotes",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "missing": "is required",
    "model_type": "must be a mapping of keys to values",
    "mapping_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "path_type": "must be the path of a folder, in quotes, or null",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem in a configuration: `file:line: key: message`."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        path = f"{self.file}:{self.line}" if self.line else self.file
        return f"{path}: {self.key}: {self.message}" if self.key else f"{path}: {self.message}"


class ConfigError(UserError):
    """The configuration cannot be used; `problems` are in the order of the file."""

    exit_code = ExitCode.BAD_CONFIGURATION

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def load(file: Path) -> Config:
    """Read a configuration file. Raises ConfigError; a relative key file is found beside the configuration."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "no such file; name one with --config.file, or start from config.example.yaml"
        raise ConfigError([Problem(str(file), None, "", hint)]) from None
    except OSError as error:
        raise ConfigError([Problem(str(file), None, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(file), None, "", "is not UTF-8 text")]) from error
    config = loads(text, str(file))
    credentials = config.cloudsql.credentials
    if credentials.file is None:
        return config
    beside = credentials.model_copy(update={"file": file.parent / credentials.file})
    return config.model_copy(update={"cloudsql": config.cloudsql.model_copy(update={"credentials": beside})})


def loads(text: str, file: str = "config.yaml") -> Config:
    """Read a configuration from YAML text; `file` is the name used in problems. Raises ConfigError."""
    document = _Document(file)
    try:
        data = document.read(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError([Problem(file, line, "", f"is not YAML: {error.problem}")]) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError([Problem(file, None, "", f"is not YAML: {error}")]) from error
    problems = list(document.problems)
    try:
        config = Config.model_validate(data if data is not None else {})
    except ValidationError as error:
        problems += [document.problem(details) for details in error.errors(include_url=False)]
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line or 0))
    return config


class _Document:
    """A YAML document with the line of every key, and a problem for every duplicate key."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []

    def read(self, text: str) -> object:
        self._loader = yaml.SafeLoader(text)
        root = self._loader.get_single_node()
        return None if root is None else self._value(root, ())

    def _value(self, node: yaml.Node, path: KeyPath) -> object:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self._value(child, (*path, index)) for index, child in enumerate(node.value)]
        return self._loader.construct_object(node)

    def _pairs(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[tuple[object, object]]:
        seen = set()
        own = list(node.value)
        self._loader.flatten_mapping(node)  # puts the merged keys of `<<` in front
        for key_node, child in node.value:
            key = str(self._value(key_node, (*path, "<key>")))
            inner = (*path, key)
            if key in seen and (key_node, child) in own:
                self.problems.append(self._at(inner, key_node.start_mark.line + 1, "is given twice"))
            if (key_node, child) in own:
                seen.add(key)
            self.lines[inner] = key_node.start_mark.line + 1
            yield key, self._value(child, inner)

    def _at(self, path: KeyPath, line: int | None, message: str) -> Problem:
        return Problem(self.file, line, _dotted(path), message)

    def problem(self, details: ErrorDetails) -> Problem:
        """The problem for a validation error, at the line of the nearest key in the file."""
        path = tuple(part for part in details["loc"] if not str(part).startswith("<"))
        line = next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), None)
        return self._at(path, line, _message(details))


def _message(details: ErrorDetails) -> str:
    match details["type"]:
        case "extra_forbidden":
            return f"unknown key{_suggestion(details['loc'])}"
        case "value_error":
            return str(details["ctx"]["error"])
        case "literal_error" | "enum":
            return f"must be {details['ctx']['expected']}"
        case kind if kind in _MESSAGES:
            return _MESSAGES[kind]
        case _:
            message = details["msg"]
            return message[0].lower() + message[1:]


def _suggestion(loc: KeyPath) -> str:
    keys = sorted(_keys(loc[:-1]))
    nearest = difflib.get_close_matches(str(loc[-1]), keys, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else f"; known here: {', '.join(keys)}"


def _keys(loc: KeyPath) -> set[str]:
    """The valid keys of the section at `loc`."""
    sections: list[type[BaseModel]] = [Config]
    for part in loc:
        if isinstance(part, int):
            continue
        if part.startswith("<"):
            sections = [s for s in sections if part.strip("<>") in s.model_fields]
            continue
        sections = [
            inner
            for section in sections
            if part in section.model_fields
            for inner in _sections_in(section.model_fields[part].annotation)
        ]
    return {key for section in sections for key in section.model_fields}


def _sections_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections_in(inner)


def _dotted(path: KeyPath) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
