"""The exposition, kept rendered and compressed. A scrape adds what depends on its moment, and gathers the rest.

Subjects that follow each other share a shelf, which holds their lines metric by metric, plain and deflated. A shelf
is made anew when one of its subjects is another object than before: so a poll costs what it changed. Each deflated
piece ends on a whole byte and refers to none before it, so that any sequence of them is a valid stream.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from itertools import chain
from operator import is_
from typing import Any, NamedTuple

from exporter import catalogue
from exporter.exposition import lines
from exporter.exposition.formats import END
from exporter.exposition.lines import Age, Writer, identity
from exporter.exposition.meters import Meters
from exporter.exposition.shared import Shared
from exporter.metric import Section
from exporter.model import Clock
from exporter.view import View

SHELF = 64  # subjects on a shelf, about
CHUNK = 1 << 20  # bytes
LEVEL = 1  # a higher one takes longer and gains little: the lines of a family are alike
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
_GZIP_END = b"\x03\x00"  # an empty last block


class Piece(NamedTuple):
    """Some bytes, plain and deflated."""

    plain: bytes
    deflated: bytes


class Shelf(NamedTuple):
    """Neighbouring subjects of one section and their lines, metric by metric."""

    subjects: tuple[object, ...]
    pieces: tuple[Piece, ...]
    ages: tuple[tuple[Age, ...], ...]


@dataclass(frozen=True, slots=True)
class Body:
    """An exposition in parts to be sent one after the other."""

    parts: tuple[bytes, ...]
    length: int

    def chunks(self) -> Iterator[bytes]:
        """The parts gathered into larger ones, of about a megabyte."""
        yield from _gathered(self.parts)


@dataclass(frozen=True)
class _Still:
    """What is said of instances at every moment until the facts change, in one format."""

    pieces: tuple[Piece, ...]
    length: int

    @cached_property
    def crc(self) -> int:
        """Of all pieces, plain. Only a compressed scrape asks for it."""
        crc = 0
        for chunk in _gathered(piece.plain for piece in self.pieces):
            crc = zlib.crc32(chunk, crc)
        return crc


class _Shelving:
    """How one section is put on shelves."""

    def __init__(self, section: Section[Any]) -> None:
        self._section = section
        self.writers = [Writer(section, metric) for metric in section.metrics]
        self.still = "instance_id" in section.identity  # of the rest there is little, and it changes at every poll

    def shelves(self, view: View, before: "_Filled") -> "_Filled":
        """The subjects of a view on their shelves; the same ones as before as far as nothing changed."""
        subjects = self._section.subjects(view)
        if subjects is before.subjects:
            return before
        known = {id(shelf.subjects[0]): shelf for shelf in before.shelves}
        after = [self._shelf(group, known.get(id(group[0]))) for group in self._groups(tuple(subjects))]
        same = len(after) == len(before.shelves) and all(map(is_, after, before.shelves))
        return _Filled(subjects, before.shelves if same else after)

    def _groups(self, subjects: tuple[object, ...]) -> Iterator[tuple[object, ...]]:
        """Neighbours, parted by what names them: one subject more or less does not shift all that follow."""
        first = 0
        for position, subject in enumerate(subjects, 1):
            if hash(self._section.identify(subject)) % SHELF == 0 or position == len(subjects):
                yield subjects[first:position]
                first = position

    def _shelf(self, subjects: tuple[object, ...], before: Shelf | None) -> Shelf:
        if before and len(before.subjects) == len(subjects) and all(map(is_, before.subjects, subjects)):
            return before
        named = [(identity(self._section, subject), subject) for subject in subjects]
        told = [writer.lines(named) for writer in self.writers]
        return Shelf(subjects, tuple(_piece(text.encode()) for text, _ in told), tuple(ages for _, ages in told))


class _Filled(NamedTuple):
    """A section on its shelves."""

    subjects: object = None
    shelves: Sequence[Shelf] = ()


class _Frame(NamedTuple):
    """All that is kept, as of one look at the facts. Replaced as a whole: a scrape never sees half of a change."""

    view: View
    sections: tuple[tuple[_Shelving, _Filled], ...]
    still: dict[str, _Still]  # by format, made when first asked for


class Exposition:
    """Everything known, as scrapes want it. Safe to share between threads; scrapes that come at once share the work."""

    def __init__(self, look: Callable[[View | None], View], clock: Clock, meters: Meters) -> None:
        """`look` views everything at this moment, building on an earlier view."""
        self._look, self._clock, self._meters = look, clock, meters
        self._frame: _Frame | None = None
        self._renewing = Shared(self._renew)
        self._bodies = {
            (content_type, gzip): Shared(partial(self._body, content_type, gzip=gzip))
            for content_type in END
            for gzip in (False, True)
        }

    def renew(self) -> None:
        """Look at the facts, and render what is new, so that no scrape has to."""
        self._renewing.get()

    def body(self, content_type: str, *, gzip: bool) -> Body:
        """The exposition at this moment, by the facts that were last looked at."""
        return self._bodies[content_type, gzip].get()

    def _renew(self) -> _Frame:
        before = self._frame
        view = self._look(before.view if before else None)
        if before and view.config.collect.user_labels == before.view.config.collect.user_labels:
            filled, still = before.sections, before.still
        else:
            made = map(_Shelving, catalogue.sections(view.config.collect.user_labels))
            filled, still = tuple((shelving, _Filled()) for shelving in made), {}
        sections = tuple((shelving, shelving.shelves(view, known)) for shelving, known in filled)
        pairs = zip(sections, filled, strict=True)
        changed = (how.still and new.shelves is not old.shelves for (how, new), (_, old) in pairs)
        self._frame = _Frame(view, sections, {} if any(changed) else still)
        return self._frame

    def _body(self, content_type: str, *, gzip: bool) -> Body:
        now = self._clock()
        frame = self._frame
        if frame is None or not frame.view.holds(now):
            frame = self._renewing.get()
        still = frame.still.get(content_type) or _still(frame, content_type)
        frame.still[content_type] = still
        moving = _moving(frame, content_type, now)
        moment = moving + self._meters.exposition(content_type) + END[content_type]
        length = still.length + len(moment)
        if not gzip:
            return Body((*(piece.plain for piece in still.pieces), moment), length)
        end = struct.pack("<LL", zlib.crc32(moment, still.crc), length & 0xFFFFFFFF)
        parts = (_GZIP_HEAD, *(piece.deflated for piece in still.pieces), _piece(moment).deflated, _GZIP_END, end)
        return Body(parts, sum(map(len, parts)))


def _still(frame: _Frame, content_type: str) -> _Still:
    gathered: list[Piece] = []
    for shelving, filled in frame.sections:
        for number, writer in enumerate(shelving.writers if shelving.still else ()):
            pieces = [shelf.pieces[number] for shelf in filled.shelves if shelf.pieces[number].plain]
            if pieces:
                gathered += [_piece(writer.head(content_type)), *pieces]
    return _Still(tuple(gathered), sum(len(piece.plain) for piece in gathered))


def _moving(frame: _Frame, content_type: str, now: datetime) -> bytes:
    """What polls change all the time, and the ages."""
    gathered: list[bytes] = []
    for shelving, filled in frame.sections:
        for number, writer in enumerate(shelving.writers):
            pieces = [] if shelving.still else [shelf.pieces[number].plain for shelf in filled.shelves]
            ages = chain.from_iterable(shelf.ages[number] for shelf in filled.shelves)
            text = b"".join(pieces) + lines.told(ages, now).encode()
            if text:
                gathered += [writer.head(content_type), text]
    return b"".join(gathered)


def _gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of about CHUNK: each call that lets go of the interpreter's lock must wait for it again.

    While polls are busy that takes longer than the call: better a few of them.
    """
    some: list[bytes] = []
    size = 0
    for part in parts:
        some.append(part)
        size += len(part)
        if size >= CHUNK:
            yield b"".join(some)
            some, size = [], 0
    yield b"".join(some)


def _piece(plain: bytes) -> Piece:
    if not plain:
        return Piece(b"", b"")
    deflating = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return Piece(plain, deflating.compress(plain) + deflating.flush(zlib.Z_SYNC_FLUSH))
