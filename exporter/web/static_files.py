"""The style sheet, the script and the icons of the pages, served from memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_DIGITS = 12  # of a digest, in a URL


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file, its media type and its digest."""

    body: bytes
    media_type: str
    digest: str


def read_files() -> Mapping[str, StaticFile]:
    """The files of the package, by name."""
    contents = {file.name: file.read_bytes() for file in files("exporter.web").joinpath("static").iterdir()}
    return {
        name: StaticFile(body, _TYPES[name.rpartition(".")[2]], sha256(body).hexdigest()[:_DIGITS])
        for name, body in contents.items()
        if name.rpartition(".")[2] in _TYPES
    }


FILES = read_files()


def static_path(name: str) -> str:
    """The path of a file, relative to that of the status page; it changes with the content of the file."""
    return f"static/{name}?v={FILES[name].digest}"


def static_file(request: Request) -> Response:
    """Return a file; a client may keep it for a year if the URL contains its digest."""
    file = FILES.get(request.path_params["name"])
    if file is None:
        return PlainTextResponse("Not Found", status_code=404)
    current = request.query_params.get("v") == file.digest
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable" if current else "no-cache",
        "ETag": f'"{file.digest}"',
        "X-Content-Type-Options": "nosniff",
    }
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.body, media_type=file.media_type, headers=headers)
