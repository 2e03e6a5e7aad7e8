"""Logging to stderr, as logfmt or JSON: time, level, message, and the fields that the caller adds."""

import json
import logging
import sys
from datetime import UTC, datetime

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(level: str, log_format: str) -> None:
    """Set up logging. `level` is debug, info, warn, error or off; `log_format` is logfmt or json."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log_format == "json" else _Logfmt())
    logging.basicConfig(level="CRITICAL" if level == "off" else level.upper(), handlers=[handler], force=True)
    for name in ("googleapiclient", "google.auth", "urllib3", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they log is also raised as an error
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.captureWarnings(True)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = {
        "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "msg": record.getMessage(),
    }
    fields |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if record.exc_info:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)
    return fields


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_fields(record), default=str)


class _Logfmt(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{key}={_quoted(str(value))}" for key, value in _fields(record).items())


def _quoted(text: str) -> str:
    plain = text.isprintable() and text and not set(text) & set(' ="\\')
    return text if plain else json.dumps(text, ensure_ascii=False)
