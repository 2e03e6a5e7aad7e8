"""Recovery times: the times to which point-in-time recovery can restore an instance."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class RecoveryTimes:
    """The earliest and the latest time to which an instance could be restored at `read_at`; either may be unknown.

    Source: `instances.getLatestRecoveryTime`, schema `SqlInstancesGetLatestRecoveryTimeResponse`.
    """

    read_at: datetime
    earliest: datetime | None = None
    latest: datetime | None = None

    @property
    def lag(self) -> timedelta | None:
        """How far the latest recovery time was behind."""
        return self.read_at - self.latest if self.latest else None

    @property
    def window(self) -> timedelta | None:
        """Latest minus earliest recovery time."""
        return self.latest - self.earliest if self.latest and self.earliest else None
