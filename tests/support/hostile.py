"""Names with characters that must be escaped in URLs, JSON and HTML."""

HOSTILE_NAMES = (
    "<script>alert(1)</script>",
    "\"quoted\" & 'single'",
    "\u202eevil\u2066gnp",  # right-to-left override, and an isolate that is not closed
    "a%2fb",
    "a/b",
    "?q=1#top",
    "n" * 100,
    "ü ö",
    "..",
)
