"""The runs of one instance in packed form: about 100 bytes per run; a `BackupRun` takes several hundred.

Most runs are only asked for type, status and size; these are read without unpacking the run.
"""

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from sys import intern
from typing import NamedTuple, Self, overload

from exporter.facts.model import BackupRun, BackupType, RunError, RunStatus

# id, size, scheduled, window start, enqueued, start, end, type, status, location, error code, message and label
_ROW = struct.Struct("<qq5dBB4I")
_SCHEDULED = struct.Struct("<16xd")
# Saved state contains positions in these two: append, never reorder.
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
_NO_SIZE = -1
_NO_TEXT = 0xFFFFFFFF
_NO_ERROR = (_NO_TEXT,) * 3


class RunHeader(NamedTuple):
    """The part of a run that is read without unpacking it; `number` is its id, timestamps are Unix seconds."""

    position: int
    number: int
    type: BackupType
    status: RunStatus
    scheduled: float
    effective_start: float
    size_bytes: int | None


class PackedRuns(Sequence[BackupRun]):
    """Runs of one instance, newest first. Immutable, and equal where the runs are.

    `packed` and `texts` are all of its data, and may be saved.
    """

    __slots__ = ("packed", "texts")

    def __init__(self, packed: bytes = b"", texts: tuple[str, ...] = ()) -> None:
        self.packed, self.texts = packed, tuple(map(intern, texts))

    @classmethod
    def of(cls, runs: Iterable[BackupRun]) -> Self:
        """Pack runs given in any order."""
        texts: dict[str, int] = {}

        def index(text: str | None) -> int:
            return _NO_TEXT if text is None else texts.setdefault(text, len(texts))

        rows = [
            _ROW.pack(
                int(run.id),
                _NO_SIZE if run.size_bytes is None else run.size_bytes,
                run.scheduled.timestamp(),
                _seconds(run.window_start),
                _seconds(run.enqueued),
                _seconds(run.start),
                _seconds(run.end),
                _TYPES.index(run.type),
                _STATUSES.index(run.status),
                index(run.location),
                *(map(index, (run.error.code, run.error.message, run.error.label)) if run.error else _NO_ERROR),
            )
            for run in sorted(runs, key=lambda run: run.order, reverse=True)
        ]
        return cls(b"".join(rows), tuple(texts))

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
                None if size == _NO_SIZE else size,
            )
            for position, (run_id, size, scheduled, _, enqueued, start, _, backup_type, status, *_) in enumerate(
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


def _seconds(timestamp: datetime | None) -> float:
    """Unix seconds; a float is exact to the microsecond for more than a century."""
    return math.nan if timestamp is None else timestamp.timestamp()


def _timestamp(seconds: float) -> datetime | None:
    return None if math.isnan(seconds) else datetime.fromtimestamp(seconds, UTC)
