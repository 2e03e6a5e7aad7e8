"""The runs of one instance, packed: about a hundred bytes a run, where a `BackupRun` takes several hundred.

Of most runs nobody asks more than their type, status and size: those are read in passing, and a run is unpacked when
somebody looks at it.
"""

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from sys import intern
from typing import NamedTuple, Self, overload

from exporter.model import BackupRun, BackupType, RunError, RunStatus

# id, size, since, window start, enqueued, start, end, type, status, location, error code, message and label
_ROW = struct.Struct("<qq5dBB4I")
_SINCE = struct.Struct("<16xd")
# Ledgers keep the positions in these two: append, and never reorder.
_TYPES = (BackupType.AUTOMATED, BackupType.ON_DEMAND, BackupType.UNKNOWN)
_STATUSES = (
    RunStatus.ENQUEUED,
    RunStatus.RUNNING,
    RunStatus.SUCCESSFUL,
    RunStatus.FAILED,
    RunStatus.SKIPPED,
    RunStatus.OVERDUE,
    RunStatus.DELETION_PENDING,
    RunStatus.DELETION_FAILED,
    RunStatus.DELETED,
    RunStatus.UNKNOWN,
)
_NOTHING = -1  # no size
_NO_TEXT = 0xFFFFFFFF
_NO_ERROR = (_NO_TEXT,) * 3


class Glance(NamedTuple):
    """What can be told of a run without unpacking it: where it stands among the others, and moments in Unix time."""

    position: int
    number: int  # the run's id
    type: BackupType
    status: RunStatus
    since: float
    began: float
    size_bytes: int | None


class Runs(Sequence[BackupRun]):
    """Runs of one instance, newest first. Immutable, and equal where the runs are.

    `packed` and `texts` are all there is to them, and may be kept.
    """

    __slots__ = ("packed", "texts")

    def __init__(self, packed: bytes = b"", texts: tuple[str, ...] = ()) -> None:
        self.packed, self.texts = packed, tuple(map(intern, texts))

    @classmethod
    def of(cls, runs: Iterable[BackupRun]) -> Self:
        """Pack runs given in any order."""
        texts: dict[str, int] = {}

        def place(text: str | None) -> int:
            return _NO_TEXT if text is None else texts.setdefault(text, len(texts))

        rows = [
            _ROW.pack(
                int(run.id),
                _NOTHING if run.size_bytes is None else run.size_bytes,
                run.since.timestamp(),
                _seconds(run.window_start),
                _seconds(run.enqueued),
                _seconds(run.start),
                _seconds(run.end),
                _TYPES.index(run.type),
                _STATUSES.index(run.status),
                place(run.location),
                *(map(place, (run.error.code, run.error.message, run.error.label)) if run.error else _NO_ERROR),
            )
            for run in sorted(runs, key=lambda run: run.order, reverse=True)
        ]
        return cls(b"".join(rows), tuple(texts))

    def glances(self) -> list[Glance]:
        """A glance at each run, newest first."""
        return [
            Glance(
                position,
                run_id,
                _TYPES[kind],
                _STATUSES[status],
                since,
                start if start == start else enqueued if enqueued == enqueued else since,  # noqa: PLR0124 (not a number)
                None if size == _NOTHING else size,
            )
            for position, (run_id, size, since, _, enqueued, start, _, kind, status, *_) in enumerate(
                _ROW.iter_unpack(self.packed)
            )
        ]

    def since(self, moment: datetime) -> Iterator[BackupRun]:
        """Those of a moment and later."""
        earliest = moment.timestamp()
        for position in range(len(self)):
            if _SINCE.unpack_from(self.packed, position * _ROW.size)[0] < earliest:
                return
            yield self[position]

    def with_id(self, run_id: str) -> BackupRun | None:
        """The run of that id, if it is among them."""
        wanted = int(run_id)
        for position, (found, *_) in enumerate(_ROW.iter_unpack(self.packed)):
            if found == wanted:
                return self[position]
        return None

    def __len__(self) -> int:
        return len(self.packed) // _ROW.size

    @overload
    def __getitem__(self, index: int) -> BackupRun: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[BackupRun]: ...
    def __getitem__(self, index: int | slice) -> BackupRun | Sequence[BackupRun]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(index)
        row = _ROW.unpack_from(self.packed, position * _ROW.size)
        run_id, size, since, window_start, enqueued, start, end, kind, status, location, code, message, label = row
        texts = self.texts
        return BackupRun(
            str(run_id),
            _TYPES[kind],
            _STATUSES[status],
            datetime.fromtimestamp(since, UTC),
            _moment(window_start),
            _moment(enqueued),
            _moment(start),
            _moment(end),
            None if code == _NO_TEXT else RunError(texts[code], texts[message], texts[label]),
            None if location == _NO_TEXT else texts[location],
            None if size == _NOTHING else size,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Runs):
            return NotImplemented
        return self.packed == other.packed and self.texts == other.texts

    def __hash__(self) -> int:
        return hash(self.packed)

    def __repr__(self) -> str:
        return f"Runs.of({list(self)})"


def _seconds(moment: datetime | None) -> float:
    """Unix time, as a float exact to the microsecond for a century and more to come."""
    return math.nan if moment is None else moment.timestamp()


def _moment(seconds: float) -> datetime | None:
    return None if math.isnan(seconds) else datetime.fromtimestamp(seconds, UTC)
