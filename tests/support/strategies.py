"""Hypothesis strategies shared by several tests."""

from hypothesis import strategies as st

from exporter.facts.model import BackupType, RunStatus
from tests.support.builders import HOUR, run

RUN_ITEM = {
    "kind": "sql#backupRun",
    "id": "1795316400000",
    "status": "FAILED",
    "type": "AUTOMATED",
    "instance": "pg-1",
    "windowStartTime": "2026-11-22T03:00:00Z",
    "enqueuedTime": "2026-11-22T03:01:00.100Z",
    "startTime": "2026-11-22T03:01:00.140123456Z",
    "endTime": "2026-11-22T03:05:00.900000+00:00",
    "error": {"kind": "sql#operationError", "code": "INTERNAL_ERROR", "message": "it failed"},
    "location": "us",
    "maxChargeableBytes": "1048576",
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
plausible = json_values | st.sampled_from(["2026-11-22T03:00:00Z", "pg-1", "FAILED", "1795316400000", "12:00"])

some_runs = st.lists(
    st.builds(
        run,
        status=st.sampled_from(list(RunStatus)),
        ago=st.integers(1, 500).map(lambda hours: hours * HOUR),
        kind=st.sampled_from(list(BackupType)),
    ),
    max_size=12,
    unique_by=lambda run: run.id,
)
