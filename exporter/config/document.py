"""YAML documents that are validated by a schema; every problem is reported with file, line and key."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from exporter.errors import ExitCode, UserError

KeyPath = tuple[str | int, ...]  # the keys and indexes that lead to a value
Schema = TypeVar("Schema", bound=BaseModel)

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


class Document(Generic[Schema]):
    """A YAML document with the line of every key, and a problem for every duplicate key.

    `empty` tells, after validation, whether there was nothing in it, or comments only.
    """

    def __init__(self, file: str, schema: type[Schema], loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> None:
        """`file` is the name used in problems; `loader` determines the types of scalars."""
        self.file = file
        self._schema, self._loader_class = schema, loader
        self.empty = False
        self._lines: dict[KeyPath, int] = {}
        self._problems: list[Problem] = []

    def validate(self, text: str) -> Schema:
        """The contents of a YAML text, validated. Raises ConfigError."""
        try:
            data = self._read(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else None
            raise ConfigError([Problem(self.file, line, "", f"is not YAML: {error.problem}")]) from error
        except RecursionError as error:
            raise ConfigError([Problem(self.file, None, "", "is not YAML: nested too deeply")]) from error
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError([Problem(self.file, None, "", f"is not YAML: {error}")]) from error
        problems = list(self._problems)
        self.empty = data is None or data == ""
        try:
            content = self._schema.model_validate({} if self.empty else data)
        except ValidationError as error:
            problems += [self._problem(details) for details in error.errors(include_url=False)]
        if problems:
            raise ConfigError(sorted(problems, key=lambda problem: problem.line or 0))
        return content

    def problem_at(self, path: KeyPath, message: str) -> Problem:
        """A problem at the line of the nearest key in the file."""
        line = next((self._lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self._lines), None)
        return Problem(self.file, line, _dotted(path), message)

    def _read(self, text: str) -> object:
        self._loader = self._loader_class(text)
        root = self._loader.get_single_node()
        return None if root is None else self._value(root, ())

    def _value(self, node: yaml.Node, path: KeyPath) -> object:
        self._lines.setdefault(path, node.start_mark.line + 1)
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
            line = key_node.start_mark.line + 1
            if key in seen and (key_node, child) in own:
                self._problems.append(Problem(self.file, line, _dotted(inner), "is given twice"))
            if (key_node, child) in own:
                seen.add(key)
            self._lines[inner] = line
            yield key, self._value(child, inner)

    def _problem(self, details: ErrorDetails) -> Problem:
        """The problem for a validation error."""
        path = tuple(part for part in details["loc"] if not str(part).startswith("<"))
        return self.problem_at(path, self._message(details))

    def _message(self, details: ErrorDetails) -> str:
        match details["type"]:
            case "extra_forbidden":
                return f"unknown key{self._suggestion(details['loc'])}"
            case "value_error":
                return str(details["ctx"]["error"])
            case "literal_error" | "enum":
                return f"must be {details['ctx']['expected']}"
            case kind if kind in _MESSAGES:
                return _MESSAGES[kind]
            case _:
                message = details["msg"]
                return message[0].lower() + message[1:]

    def _suggestion(self, loc: KeyPath) -> str:
        keys = sorted(_keys(self._schema, loc[:-1]))
        nearest = difflib.get_close_matches(str(loc[-1]), keys, n=1)
        return f"; did you mean {nearest[0]}?" if nearest else f"; known here: {', '.join(keys)}"


def _keys(schema: type[BaseModel], loc: KeyPath) -> set[str]:
    """The valid keys of the section at `loc`."""
    sections = [schema]
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
