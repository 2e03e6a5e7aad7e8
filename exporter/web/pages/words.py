"""Words, icons and units of the pages."""

from collections.abc import Mapping

from exporter.verdict.rules import Protection

ICONS: Mapping[str, str] = {
    Protection.UNPROTECTED: "✖",
    Protection.UNKNOWN: "?",
    Protection.AT_RISK: "▲",
    Protection.PROTECTED: "✔",
    Protection.EXEMPT: "○",
    "stale": "◷",
}


def state_word(word: str) -> str:
    """A state or another label value as a word for people."""
    return word.replace("_", " ").lower()


def bytes_text(number: int) -> str:
    """A size in binary units, as Google's console shows it: `1.5 GiB`."""
    size = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"
