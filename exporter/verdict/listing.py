"""Selection of instances from an evaluation: filters, order and pages, as query parameters state them. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from operator import is_

from exporter.facts.model import BackupRun
from exporter.verdict.assess import Verdict
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.reasons import reasons
from exporter.verdict.rules import WORST_FIRST, Protection
from exporter.verdict.summary import rank

_LABEL = "label."
_MAX_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Selection:
    """Selection of instances; each part that is given narrows it down.

    `states` and `projects`: one of these. `text`: each of its words, in any case, occurs in the project, the instance,
    a reason, a finding or a label. `labels`: each of these user labels has one of these values. `sort` is a key of
    SORT_KEYS, with `-` before it for the reverse order. `limit` is the size of a page, None for everything.
    """

    states: tuple[Protection, ...] = ()
    projects: tuple[str, ...] = ()
    text: str = ""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sort: str = "state"
    limit: int | None = None
    offset: int = 0

    @classmethod
    def parse(cls, parameters: Iterable[tuple[str, str]], default_limit: int | None = None) -> "Selection":
        """The selection that query parameters state; empty values and other parameters are ignored.

        Raises ValueError for a value that is not valid.
        """
        values: dict[str, list[str]] = {}
        for name, value in parameters:
            if value.strip():
                values.setdefault(name, []).append(value.strip())
        return cls(
            states=tuple(
                dict.fromkeys(_state(word.strip()) for text in values.get("state", ()) for word in _list(text))
            ),
            projects=tuple(dict.fromkeys(values.get("project", ()))),
            text=" ".join(values.get("q", ())),
            labels={
                name.removeprefix(_LABEL): tuple(dict.fromkeys(found))
                for name, found in values.items()
                if name.startswith(_LABEL) and name != _LABEL
            },
            sort=_sort(_single("sort", values, "state")),
            limit=_number("limit", values, default_limit),
            offset=_number("offset", values, 0) or 0,
        )

    def parameters(self) -> list[tuple[str, str]]:
        """The query parameters that state this selection; without those that have their default."""
        parameters = [("state", str(state)) for state in self.states]
        parameters += [("project", project) for project in self.projects]
        parameters += [("q", self.text)] if self.text else []
        parameters += [(_LABEL + name, value) for name, values in self.labels.items() for value in values]
        parameters += [("sort", self.sort)] if self.sort != "state" else []
        parameters += [("limit", str(self.limit))] if self.limit is not None else []
        parameters += [("offset", str(self.offset))] if self.offset else []
        return parameters


@dataclass(frozen=True, slots=True)
class Selected:
    """One page of a selection.

    `total` is the number of selected instances on all pages. `counts` are the numbers of instances in each state that
    the selection would have without its `states`.
    """

    verdicts: Sequence[Verdict]
    total: int
    counts: Mapping[Protection, int]


class Listing:
    """Selections from one evaluation after another. Orders and search texts are cached until verdicts change."""

    def __init__(self) -> None:
        self._index: _Index | None = None

    def select(self, evaluation: Evaluation, selection: Selection) -> Selected:
        """One page of the instances that are selected, in the order of the selection."""
        index = self._index
        if index is None or not index.covers(evaluation):
            self._index = index = _Index(evaluation, index)
        ordered = index.ordered(selection.sort)
        if selection.projects:
            ordered = [verdict for verdict in ordered if verdict.instance.id.project in selection.projects]
        if selection.labels:
            ordered = [verdict for verdict in ordered if _has_labels(verdict, selection.labels)]
        if selection.text:
            texts, words = index.texts(), selection.text.casefold().split()
            ordered = [verdict for verdict in ordered if all(map(texts[id(verdict)].__contains__, words))]
        counts = Counter(verdict.state for verdict in ordered)
        if selection.states:
            ordered = [verdict for verdict in ordered if verdict.state in selection.states]
        end = None if selection.limit is None else selection.offset + selection.limit
        page = ordered[selection.offset : end]
        return Selected(page, len(ordered), {state: counts[state] for state in WORST_FIRST})


class _Index:
    """Orders and search texts of the verdicts of an evaluation."""

    def __init__(self, evaluation: Evaluation, before: "_Index | None") -> None:
        self._evaluation = evaluation
        self._orders: dict[str, list[Verdict]] = {}
        self._texts: dict[int, str] = {}
        # `before` still refers to its verdicts, so that an id which occurs in both is that of the same verdict.
        self._known_texts = before._texts if before else {}

    def covers(self, evaluation: Evaluation) -> bool:
        """Whether the verdicts of an evaluation are those of this index."""
        mine, theirs = self._evaluation.verdicts, evaluation.verdicts
        return mine is theirs or (len(mine) == len(theirs) and all(map(is_, mine, theirs)))

    def ordered(self, sort: str) -> list[Verdict]:
        """The verdicts in an order."""
        if sort not in self._orders:
            self._orders[sort] = _sorted(self._evaluation.verdicts, sort)
        return self._orders[sort]

    def texts(self) -> Mapping[int, str]:
        """The text in which to search for words, by the id of the verdict; its ages are those of the first search."""
        if not self._texts:
            known = self._known_texts
            self._texts = {
                id(verdict): known.get(id(verdict)) or _search_text(verdict, self._evaluation)
                for verdict in self._evaluation.verdicts
            }
            self._known_texts = {}
        return self._texts


def _search_text(verdict: Verdict, evaluation: Evaluation) -> str:
    instance = verdict.instance
    labels = (f"{name}={value}" for name, value in instance.user_labels.items())
    parts = (instance.id.project, instance.id.name, *reasons(verdict, evaluation), *verdict.findings, *labels)
    return "\n".join(parts).casefold()


def _has_labels(verdict: Verdict, labels: Mapping[str, tuple[str, ...]]) -> bool:
    return all(verdict.instance.user_labels.get(name) in values for name, values in labels.items())


def _newest_success(verdict: Verdict) -> BackupRun | None:
    return verdict.history.newest_success


def _last_success(verdict: Verdict) -> object:
    newest = _newest_success(verdict)
    return newest and newest.end


def _duration(verdict: Verdict) -> timedelta | None:
    newest = _newest_success(verdict)
    return newest.duration if newest else None


def _size(verdict: Verdict) -> int | None:
    newest = _newest_success(verdict)
    return newest.size_bytes if newest else None


SORT_KEYS: Mapping[str, Callable[[Verdict], object]] = {
    "state": rank,
    "project": lambda verdict: (verdict.instance.id.project, verdict.instance.id.name),
    "instance": lambda verdict: (verdict.instance.id.name, verdict.instance.id.project),
    "recovery_point": lambda verdict: verdict.recovery_point,
    "last_success": _last_success,
    "next_due": lambda verdict: verdict.next_due,
    "duration": _duration,
    "size": _size,
}


def _sorted(verdicts: Iterable[Verdict], sort: str) -> list[Verdict]:
    """Verdicts in an order, those without a value last, and otherwise as they are given."""
    key = SORT_KEYS[sort.removeprefix("-")]
    keyed = [(key(verdict), verdict) for verdict in verdicts]
    known = [item for item in keyed if item[0] is not None]
    known.sort(key=lambda item: item[0], reverse=sort.startswith("-"))  # type: ignore[arg-type,return-value] # comparable
    return [verdict for _, verdict in known] + [verdict for value, verdict in keyed if value is None]


def _list(text: str) -> list[str]:
    return [word for word in text.split(",") if word.strip()]


def _state(word: str) -> Protection:
    try:
        return Protection(word)
    except ValueError:
        raise ValueError(f"state: unknown state {word!r}; the states are {', '.join(WORST_FIRST)}") from None


def _sort(key: str) -> str:
    if key.removeprefix("-") not in SORT_KEYS:
        keys = ", ".join(SORT_KEYS)
        raise ValueError(f"sort: cannot sort by {key!r}; choose {keys}, with - before it for the reverse order")
    return key


def _number(name: str, values: Mapping[str, Sequence[str]], default: int | None) -> int | None:
    text = _single(name, values, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise ValueError(f"{name}: {text!r} is not a whole number from 0 to {10**_MAX_DIGITS - 1}")
    return int(text)


def _single(name: str, values: Mapping[str, Sequence[str]], default: str) -> str:
    found = values.get(name, [default])
    if len(found) > 1:
        raise ValueError(f"{name}: given more than once")
    return found[0]
