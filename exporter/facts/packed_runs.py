"""The runs of one instance in packed form: about 100 bytes per run; a `BackupRun` takes several hundred.

Most runs are only asked for type, status and size; these are read without unpacking the run.
"""

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from operator import attrgetter
from sys import intern
from typing import NamedTuple, Self, overload

from exporter.facts.model import BackupRun, BackupType, RunError, RunStatus

# id, size, scheduled, window start, enqueued, start, end, type, status, location, error code, message and label
_ROW = struct.Struct("<qq5dBB4I")
_SCHEDULED = struct.Struct("<16xd")
# Saved state contains positions in these two: append, never reorder.
_TYPES = (BackupType.AUTOMATED, BackupType.ON_DEMAND, BackupType.UNKNOWN, BackupType.FINAL)
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
    RunStatus.VANISHED,
)
_TYPE_CODES = {backup_type: code for code, backup_type in enumerate(_TYPES)}
_STATUS_CODES = {status: code for code, status in enumerate(_STATUSES)}
_NO_SIZE = -1
_NO_TIME = math.nan
_NO_TEXT = 0xFFFFFFFF
_NO_ERROR = (_NO_TEXT,) * 3


class RunRow(NamedTuple):
    """A run before it is packed: a `BackupRun` with its id as a number and timestamps as Unix seconds.

    It takes a fraction of the time to make: a full listing makes one for each run.
    """

    number: int
    type: BackupType
    status: RunStatus
    scheduled: float
    window_start: float | None = None
    enqueued: float | None = None
    start: float | None = None
    end: float | None = None
    error: RunError | None = None
    location: str | None = None
    size_bytes: int | None = None

    @classmethod
    def of(cls, run: BackupRun) -> Self:
        """The row of a run."""
        return cls(
            int(run.id),
            run.type,
            run.status,
            run.scheduled.timestamp(),
            seconds(run.window_start),
            seconds(run.enqueued),
            seconds(run.start),
            seconds(run.end),
            run.error,
            run.location,
            run.size_bytes,
        )

    @property
    def run(self) -> BackupRun:
        """The run of the row."""
        return BackupRun(
            str(self.number),
            self.type,
            self.status,
            datetime.fromtimestamp(self.scheduled, UTC),
            _timestamp(self.window_start),
            _timestamp(self.enqueued),
            _timestamp(self.start),
            _timestamp(self.end),
            self.error,
            self.location,
            self.size_bytes,
        )

    @property
    def order(self) -> tuple[float, float, str]:
        """Sort key, that of the run."""
        return (self.scheduled, self.start or self.enqueued or self.scheduled, str(self.number))


class RunHeader(NamedTuple):
    """The part of a run that is read without unpacking it; `number` is its id, times are (Unix) seconds."""

    position: int
    number: int
    type: BackupType
    status: RunStatus
    scheduled: float
    effective_start: float
    duration: float | None
    size_bytes: int | None


class RunSpan(NamedTuple):
    """The time that a run took, in Unix seconds; without an end while it is in progress, or where none is known."""

    type: BackupType
    status: RunStatus
    scheduled: float
    start: float
    end: float | None


class PackedRuns(Sequence[BackupRun]):
    """Runs of one instance, newest first. Immutable, and equal where the runs are.

    `packed` and `texts` are all of its data, and may be saved; each run takes RUN_SIZE bytes of `packed`.
    """

    __slots__ = ("packed", "texts")
    RUN_SIZE = _ROW.size

    def __init__(self, packed: bytes = b"", texts: tuple[str, ...] = ()) -> None:
        self.packed, self.texts = packed, tuple(map(intern, texts))

    @classmethod
    def of(cls, runs: Iterable[BackupRun]) -> Self:
        """Pack runs given in any order."""
        return cls.of_rows(map(RunRow.of, runs))

    @classmethod
    def of_rows(cls, rows: Iterable[RunRow]) -> Self:
        """Pack the rows of runs, given in any order."""
        texts: dict[str, int] = {}

        def index(text: str | None) -> int:
            return _NO_TEXT if text is None else texts.setdefault(text, len(texts))

        packed = [
            _ROW.pack(
                row.number,
                _NO_SIZE if row.size_bytes is None else row.size_bytes,
                row.scheduled,
                _NO_TIME if row.window_start is None else row.window_start,
                _NO_TIME if row.enqueued is None else row.enqueued,
                _NO_TIME if row.start is None else row.start,
                _NO_TIME if row.end is None else row.end,
                _TYPE_CODES[row.type],
                _STATUS_CODES[row.status],
                index(row.location),
                *(map(index, (row.error.code, row.error.message, row.error.label)) if row.error else _NO_ERROR),
            )
            for row in _newest_first(rows)
        ]
        return cls(b"".join(packed), tuple(texts))

    def headers(self) -> list[RunHeader]:
        """The header of each run, newest first."""
        return [
            RunHeader(
                position,
                run_id,
                _TYPES[backup_type],
                _STATUSES[status],
                scheduled,
                start if start == start else enqueued if enqueued == enqueued else scheduled,  # noqa: PLR0124 (not a number)
                end - start if end >= start else None,
                None if size == _NO_SIZE else size,
            )
            for position, (run_id, size, scheduled, _, enqueued, start, end, backup_type, status, *_) in enumerate(
                _ROW.iter_unpack(self.packed)
            )
        ]

    def since(self, timestamp: datetime) -> Iterator[BackupRun]:
        """Those scheduled at a time or later."""
        earliest = timestamp.timestamp()
        for position in range(len(self)):
            if _SCHEDULED.unpack_from(self.packed, position * _ROW.size)[0] < earliest:
                return
            yield self[position]

    def spans(self, earliest: float) -> Iterator[RunSpan]:
        """The time that each run took, of those that started and were scheduled at a time or later; newest first."""
        for _, _, scheduled, _, _, start, end, backup_type, status, *_ in _ROW.iter_unpack(self.packed):
            if scheduled < earliest:
                return
            if start == start:  # noqa: PLR0124 (not a number)
                known_end = end if end == end else None  # noqa: PLR0124 (not a number)
                yield RunSpan(_TYPES[backup_type], _STATUSES[status], scheduled, start, known_end)

    def numbers(self, enqueued_after: float | None = None) -> Iterator[int]:
        """The ids of all runs, or of those enqueued after a time, in Unix seconds."""
        for number, _, _, _, enqueued, *_ in _ROW.iter_unpack(self.packed):
            if enqueued_after is None or enqueued > enqueued_after:
                yield number

    def with_id(self, run_id: str) -> BackupRun | None:
        """The run with that id; None where there is none."""
        number = int(run_id)
        for position, (found, *_) in enumerate(_ROW.iter_unpack(self.packed)):
            if found == number:
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
        run_id, size, scheduled, window_start, enqueued, start, end, kind, status, location, code, message, label = row
        texts = self.texts
        return BackupRun(
            str(run_id),
            _TYPES[kind],
            _STATUSES[status],
            datetime.fromtimestamp(scheduled, UTC),
            _timestamp(window_start),
            _timestamp(enqueued),
            _timestamp(start),
            _timestamp(end),
            None if code == _NO_TEXT else RunError(texts[code], texts[message], texts[label]),
            None if location == _NO_TEXT else texts[location],
            None if size == _NO_SIZE else size,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PackedRuns):
            return NotImplemented
        return self.packed == other.packed and self.texts == other.texts

    def __hash__(self) -> int:
        return hash(self.packed)

    def __repr__(self) -> str:
        return f"PackedRuns.of({list(self)})"


def _newest_first(rows: Iterable[RunRow]) -> list[RunRow]:
    """The rows in order; the API lists most runs of an instance in this order already."""
    listed = list(rows)
    if all(newer.scheduled > older.scheduled for newer, older in pairwise(listed)):
        return listed
    return sorted(listed, key=attrgetter("order"), reverse=True)


def seconds(timestamp: datetime | None) -> float | None:
    """Unix seconds; a float is exact to the microsecond for more than a century."""
    return None if timestamp is None else timestamp.timestamp()


def _timestamp(seconds: float | None) -> datetime | None:
    return None if seconds is None or math.isnan(seconds) else datetime.fromtimestamp(seconds, UTC)
