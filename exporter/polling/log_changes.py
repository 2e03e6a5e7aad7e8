"""Log lines about polls and searches: one when the result changes."""

import logging

from exporter.facts.model import PollResult
from exporter.facts.snapshot import DiscoveryMethod, ProjectState, ProjectStatus, SearchStatus

log = logging.getLogger(__name__)

_METHODS = {
    DiscoveryMethod.INVENTORY: "in Cloud Asset Inventory",
    DiscoveryMethod.WALK: "by Cloud Resource Manager, folder by folder",
}


def log_search(query: str, before: SearchStatus, after: SearchStatus, reason: str) -> None:
    """Log once, when it changes, the result of a search and how the projects of a folder or organization are found."""
    extra = {"query": query, "projects": len(after.projects)}
    if after.method in _METHODS and after.method is not before.method and after.up:
        because = f", because Cloud Asset Inventory cannot be used: {reason}" if reason else ""
        log.info("projects are found %s%s", _METHODS[after.method], because, extra=extra)
    if before.message != after.message or before.up is None:
        log.log(logging.INFO if after.up else logging.ERROR, after.message or "search completed", extra=extra)


def log_poll(before: ProjectStatus, after: ProjectStatus) -> None:
    """Log once, when it changes, the result of polls of a project and the order of its listing."""
    if after.scan and not after.scan.newest_first and (before.scan is None or before.scan.newest_first):
        text = "backup runs are not listed newest first: listing in full on every poll"
        log.warning(text, extra={"project": after.project})
    if after.unreachable_regions != before.unreachable_regions:
        regions = ", ".join(after.unreachable_regions) or "none"
        log.warning("unreachable regions: %s", regions, extra={"project": after.project})
    if before.result is after.result:
        return
    if after.result is PollResult.SUCCESS and after.scan:
        level = logging.INFO if after.scan.records or after.found else logging.WARNING
        log.log(level, "project polled", extra={"project": after.project, "instances": len(after.scan.records)})
    elif after.state is ProjectState.API_DISABLED:
        log.info("the Cloud SQL Admin API is not enabled in a project that was found", extra={"project": after.project})
    else:
        log.error(after.message, extra={"project": after.project, "result": after.result})
