"""The exposition, kept rendered and compressed. A scrape adds what depends on its moment, and gathers the rest.

Subjects that follow each other share a shelf, which holds their lines metric by metric, plain and deflated. A shelf
is made anew when one of its subjects is another object than before: so a poll costs what it changed. Each deflated
piece ends on a whole byte and refers to none before it, so that any sequence of them is a valid stream.
"""

import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
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
from exporter.view import View

SHELF = 64  # subjects on a shelf, about
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


@dataclass(frozen=True, slots=True)
class _Still:
    """What is the same at every moment until the view changes, in one format; and the ages that are not."""

    pieces: tuple[Piece, ...]
    length: int
    crc: int
    ages: tuple[tuple[bytes, tuple[Age, ...]], ...]  # by family, after its head


class _Shelves:
    """The shelves of one section."""

    def __init__(self, section: Section[Any]) -> None:
        self._section = section
        self.writers = [Writer(section, metric) for metric in section.metrics]
        self._subjects: object = None
        self.shelves: list[Shelf] = []

    def renew(self, view: View) -> bool:
        """Fill shelves with what is new in a view; whether anything is."""
        subjects = self._section.subjects(view)
        if subjects is self._subjects:
            return False
        before = {id(shelf.subjects[0]): shelf for shelf in self.shelves}
        after = [self._shelf(group, before.get(id(group[0]))) for group in self._groups(tuple(subjects))]
        changed = len(after) != len(self.shelves) or not all(map(is_, after, self.shelves))
        self._subjects, self.shelves = subjects, after
        return changed

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


class Exposition:
    """Everything known, as scrapes want it. Safe to share between threads; scrapes that come at once share the work."""

    def __init__(self, look: Callable[[View | None], View], meters: Meters) -> None:
        """`look` views everything at this moment, building on an earlier view."""
        self._look, self._meters = look, meters
        self._lock = threading.Lock()
        self._view: View | None = None
        self._user_labels: tuple[str, ...] | None = None
        self._shelves: list[_Shelves] = []
        self._still: dict[str, _Still] = {}
        self._renewing = Shared(self._renew)
        self._bodies = {
            (content_type, gzip): Shared(partial(self._body, content_type, gzip=gzip))
            for content_type in END
            for gzip in (False, True)
        }

    def renew(self) -> None:
        """Render what is new, so that no scrape has to."""
        self._renewing.get()

    def body(self, content_type: str, *, gzip: bool) -> Body:
        """The exposition at this moment."""
        return self._bodies[content_type, gzip].get()

    def _renew(self) -> View:
        with self._lock:
            view = self._look(self._view)
            labels = view.config.collect.user_labels
            if labels != self._user_labels:
                self._shelves = [_Shelves(section) for section in catalogue.sections(labels)]
                self._user_labels = labels
            changed = [shelves.renew(view) for shelves in self._shelves]
            if any(changed):
                self._still.clear()
            self._view = view
            return view

    def _body(self, content_type: str, *, gzip: bool) -> Body:
        view = self._renew()
        still = self._still_in(content_type)
        ages = b"".join(head + lines.told(of_family, view.now).encode() for head, of_family in still.ages)
        moment = ages + self._meters.exposition(content_type) + END[content_type]
        length = still.length + len(moment)
        if not gzip:
            return Body((*(piece.plain for piece in still.pieces), moment), length)
        end = struct.pack("<LL", zlib.crc32(moment, still.crc), length & 0xFFFFFFFF)
        parts = (_GZIP_HEAD, *(piece.deflated for piece in still.pieces), _piece(moment).deflated, _GZIP_END, end)
        return Body(parts, sum(map(len, parts)))

    def _still_in(self, content_type: str) -> _Still:
        with self._lock:
            if content_type not in self._still:
                self._still[content_type] = _still(self._shelves, content_type)
            return self._still[content_type]


def _still(sections: list[_Shelves], content_type: str) -> _Still:
    gathered: list[Piece] = []
    ages: list[tuple[bytes, tuple[Age, ...]]] = []
    for section in sections:
        for number, writer in enumerate(section.writers):
            pieces = [shelf.pieces[number] for shelf in section.shelves if shelf.pieces[number].plain]
            if pieces:
                gathered += [_piece(writer.head(content_type)), *pieces]
            if of_metric := tuple(chain.from_iterable(shelf.ages[number] for shelf in section.shelves)):
                ages.append((writer.head(content_type), of_metric))
    crc = 0
    for piece in gathered:
        crc = zlib.crc32(piece.plain, crc)
    return _Still(tuple(gathered), sum(len(piece.plain) for piece in gathered), crc, tuple(ages))


def _piece(plain: bytes) -> Piece:
    if not plain:
        return Piece(b"", b"")
    deflating = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return Piece(plain, deflating.compress(plain) + deflating.flush(zlib.Z_SYNC_FLUSH))
