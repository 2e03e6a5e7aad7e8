"""Rows of the state file: scans and records as bytes, and back. Pure. Decoding raises ValueError for damaged rows."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from exporter.facts.collected import Collected
from exporter.facts.counters import Counters
from exporter.facts.history import history
from exporter.facts.model import Instance
from exporter.facts.packed_runs import PackedRuns
from exporter.facts.record import ProjectScan, Record, RemovedInstance
from exporter.facts.snapshot import SavedSearch


@dataclass(frozen=True, slots=True)
class _ScanRow:
    """A scan without its instances."""

    read_at: datetime
    full_listing_at: datetime
    newest_first: bool
    unreachable_regions: tuple[str, ...]
    carried_over: dict[str, datetime]
    listed: int | None = None


@dataclass(frozen=True, slots=True)
class _RecordRow:
    """An instance, stored next to its packed runs; of a removed instance only the counters."""

    counters: Counters
    instance: Instance | None = None
    texts: tuple[str, ...] = ()  # of the packed runs
    expired: int = 0  # runs at the end of the packed ones that are no longer listed
    checksum: int = 0  # CRC-32 of the packed runs
    removed_at: datetime | None = None


_SCAN_ROW, _RECORD_ROW, _COLLECTED = TypeAdapter(_ScanRow), TypeAdapter(_RecordRow), TypeAdapter(Collected)
_SEARCH_ROW = TypeAdapter(SavedSearch)


def encode_scan(scan: ProjectScan) -> bytes:
    """A scan without its instances, as JSON."""
    return _SCAN_ROW.dump_json(
        _ScanRow(
            scan.read_at,
            scan.full_listing_at,
            scan.newest_first,
            scan.unreachable_regions,
            dict(scan.carried_over),
            scan.listed,
        )
    )


def decode_scan(body: bytes, instances: Mapping[str, Record | RemovedInstance]) -> ProjectScan:
    """A scan with its instances."""
    row = _SCAN_ROW.validate_json(body)
    return ProjectScan(
        read_at=row.read_at,
        full_listing_at=row.full_listing_at,
        newest_first=row.newest_first,
        unreachable_regions=row.unreachable_regions,
        carried_over=row.carried_over,
        listed=row.listed,
        records={name: record for name, record in instances.items() if isinstance(record, Record)},
        removed={name: removed for name, removed in instances.items() if isinstance(removed, RemovedInstance)},
    )


def encode_search(search: SavedSearch) -> str:
    """The projects that a search found, as JSON."""
    return _SEARCH_ROW.dump_json(search).decode()


def decode_search(body: str) -> SavedSearch:
    """The projects that a search found."""
    return _SEARCH_ROW.validate_json(body)


def encode_record(record: Record | RemovedInstance) -> tuple[bytes, bytes]:
    """An instance as JSON, and its packed runs."""
    if isinstance(record, RemovedInstance):
        return _RECORD_ROW.dump_json(_RecordRow(record.counters, removed_at=record.removed_at)), b""
    runs, expired = record.history.runs, record.history.expired
    packed = runs.packed + expired.packed
    row = _RecordRow(record.counters, record.instance, runs.texts, len(expired), zlib.crc32(packed))
    return _RECORD_ROW.dump_json(row), packed


def decode_record(body: bytes, packed: bytes) -> Record | RemovedInstance:
    """An instance, from its JSON and its packed runs."""
    row = _RECORD_ROW.validate_json(body)
    if row.removed_at:
        return RemovedInstance(row.counters, row.removed_at)
    if row.instance is None:
        raise ValueError("a record without its instance")
    if zlib.crc32(packed) != row.checksum:
        raise ValueError(f"the runs of {row.instance.id} do not match their checksum")
    listed = len(packed) - row.expired * PackedRuns.RUN_SIZE
    runs, expired = PackedRuns(packed[:listed], row.texts), PackedRuns(packed[listed:])
    return Record(row.instance, history(runs, expired=expired), row.counters)


def encode_collected(collected: Collected) -> bytes:
    """What was collected about a project, without the status, as JSON."""
    return _COLLECTED.dump_json(collected, exclude={"status"})


def decode_collected(body: bytes) -> Collected:
    """What was collected about a project."""
    return _COLLECTED.validate_json(body)
