"""Facts about the exporter itself."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class ExporterInfo:
    """Build, shard, settings and condition of the running exporter."""

    version: str
    revision: str
    python_version: str
    shard_index: int
    shard_total: int
    stale_after: timedelta
    requests_per_minute: int
    reload_successful: bool
    last_successful_reload: datetime
    state_persistent: bool
    unneeded_privileges: tuple[str, ...] = ()  # as far as they are known, in words
