"""Scrapes while hostile clients do their worst for a minute."""

import http.client
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.attack import under_attack
from tests.support.builders import eventually
from tests.support.processes import exporter, is_up

DURATION = 60.0  # seconds
SCRAPE_INTERVAL = 0.5  # seconds


@dataclass
class Scraper:
    """A client that scrapes as Prometheus does: it keeps its connection, and retries once if that was closed."""

    address: tuple[str, int]
    scrapes: int = 0
    lost: list[str] = field(default_factory=list)
    _kept: http.client.HTTPConnection | None = None

    def scrape(self) -> None:
        """Scrape, and note it if that fails."""
        try:
            try:
                body = self._request(self._kept) if self._kept else None
            except (ConnectionError, http.client.BadStatusLine):  # closed since the last scrape
                body = None
            if body is None:
                self._kept = http.client.HTTPConnection(*self.address, timeout=10)
                body = self._request(self._kept)
            assert body.endswith(b"\n")
            assert b"\ncloudsql_backup_protection{" in body
            self.scrapes += 1
        except (OSError, http.client.HTTPException, AssertionError) as error:
            self.lost.append(repr(error))

    def _request(self, connection: http.client.HTTPConnection) -> bytes:
        connection.request("GET", "/metrics")
        with connection.getresponse() as response:
            assert response.status == 200
            return response.read()


def test_no_scrape_is_lost_and_the_log_stays_short_under_attack(tmp_path: Path) -> None:
    flags = ["--world=fleet:2000:20", "--speed=0", "--web.enable-lifecycle"]
    with exporter("demo", *flags, log=tmp_path / "log") as running:
        assert eventually(lambda: is_up(f"{running.url}-/ready"), seconds=120)
        url = urlsplit(running.url)
        scraper = Scraper((url.hostname or "", url.port or 0))
        scraper.scrape()
        logged = len(running.stderr())
        with under_attack(scraper.address):
            end = time.monotonic() + DURATION
            while time.monotonic() < end:
                scraper.scrape()
                time.sleep(SCRAPE_INTERVAL)
        log = running.stderr()[logged:]
        assert running.process.poll() is None
    assert scraper.lost == []
    assert scraper.scrapes > 10
    assert "Traceback" not in log
    assert len(log) < 20_000
