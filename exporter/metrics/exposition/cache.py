"""Cache of the rendered and compressed exposition. A scrape adds the values that depend on its time.

Rendered lines are cached in blocks of neighbouring subjects. A block is rendered again only when one of its subjects
was replaced, so the cost of a poll is proportional to its changes. Each compressed part ends on a whole byte and does
not refer to earlier ones, so that any sequence of them is a valid stream.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from operator import is_
from typing import Any, NamedTuple

from exporter.facts.model import Clock
from exporter.metrics import catalogue
from exporter.metrics.catalogue.section import Section
from exporter.metrics.exposition.formats import END
from exporter.metrics.exposition.lines import AgeLine, Writer, identity_values, render_ages
from exporter.metrics.exposition.singleflight import SingleFlight
from exporter.verdict.evaluate import Evaluation

BLOCK_SIZE = 64  # subjects, on average
MAX_QUICK_AGES = 5000  # rendering and compressing so many takes about 3 ms
CHUNK_SIZE = 1 << 20  # bytes
COMPRESSION_LEVEL = 1  # a higher one takes longer and gains little: the lines of a family are alike
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
_GZIP_LAST_BLOCK = b"\x03\x00"  # empty


class CompressedBytes(NamedTuple):
    """Some bytes, plain and deflated."""

    plain: bytes
    deflated: bytes


class Block(NamedTuple):
    """Neighbouring subjects of a section with their rendered lines and their ages, by metric."""

    subjects: tuple[object, ...]
    rendered: tuple[CompressedBytes, ...]
    ages: tuple[tuple[AgeLine, ...], ...]


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a response, in parts that follow each other."""

    parts: tuple[bytes, ...]
    length: int

    def chunks(self) -> Iterator[bytes]:
        """The parts joined into chunks of about 1 MiB."""
        return _joined(self.parts)


class StaticPart(NamedTuple):
    """The part of a body that changes with the facts only."""

    parts: tuple[bytes, ...]
    plain_length: int
    plain_crc: int  # CRC-32 of the plain bytes; 0 if the body is not compressed


class DynamicLines(NamedTuple):
    """The lines of one metric that are not in the static part."""

    writer: Writer
    lines: bytes
    ages: tuple[AgeLine, ...]


class RenderedSection(NamedTuple):
    """A section in blocks."""

    subjects: object = None
    blocks: Sequence[Block] = ()


class SectionCache:
    """Renders one section in blocks, and reuses those that have not changed."""

    def __init__(self, section: Section[Any]) -> None:
        self._section = section
        self.writers = [Writer(section, metric) for metric in section.metrics]
        self.cached = section.cached

    def render(self, evaluation: Evaluation, before: RenderedSection) -> RenderedSection:
        """The section of an evaluation; the same blocks as before as far as nothing has changed."""
        subjects = self._section.subjects(evaluation)
        if subjects is before.subjects:
            return before
        after = list(self._blocks(tuple(subjects), {id(block.subjects[0]): block for block in before.blocks}))
        unchanged = len(after) == len(before.blocks) and all(map(is_, after, before.blocks))
        return RenderedSection(subjects, before.blocks if unchanged else after)

    def _blocks(self, subjects: tuple[object, ...], known: Mapping[int, Block]) -> Iterator[Block]:
        """Blocks of neighbours; `known` are those from before, by the id of their first subject."""
        start = 0
        while start < len(subjects):
            block = known.get(id(subjects[start]))
            group = subjects[start : start + len(block.subjects)] if block else ()
            end = start + len(group)
            complete = group and (end == len(subjects) or self._ends_block(group[-1]))
            if not (block and complete and len(group) == len(block.subjects) and all(map(is_, group, block.subjects))):
                numbers = range(start, len(subjects))
                end = next((n + 1 for n in numbers if self._ends_block(subjects[n])), len(subjects))
                block = self._rendered(subjects[start:end])
            yield block
            start = end

    def _ends_block(self, subject: object) -> bool:
        """By a checksum of its identity: one subject more or less does not shift all blocks that follow."""
        return zlib.crc32("/".join(self._section.identify(subject)).encode()) % BLOCK_SIZE == 0

    def _rendered(self, subjects: tuple[object, ...]) -> Block:
        identified = [(identity_values(self._section, subject), subject) for subject in subjects]
        rendered = [writer.render(identified) for writer in self.writers]
        return Block(subjects, tuple(_compressed(text.encode()) for text, _ in rendered), tuple(a for _, a in rendered))


class Generation(NamedTuple):
    """Everything rendered from one evaluation. Replaced as a whole: a scrape never sees half of a change."""

    evaluation: Evaluation
    sections: tuple[tuple[SectionCache, RenderedSection], ...]
    static: dict[tuple[str, bool], StaticPart]  # by content type and compression; joined when first needed
    dynamic: tuple[DynamicLines, ...]


class Exposition:
    """The exposition of the latest evaluation. Safe to share between threads; concurrent scrapes share the work."""

    def __init__(
        self,
        evaluate: Callable[[Evaluation | None], Evaluation],
        clock: Clock,
        direct_metrics: Callable[[str], bytes],
    ) -> None:
        """`evaluate` returns an evaluation as of now, based on an earlier one.

        `direct_metrics` renders the metrics that are not read from it, for a content type.
        """
        self._evaluate, self._clock, self._direct_metrics = evaluate, clock, direct_metrics
        self._generation: Generation | None = None
        self._rendering = SingleFlight(self._render)
        self._bodies = {
            (content_type, gzip): SingleFlight(partial(self._body, content_type, gzip=gzip))
            for content_type in END
            for gzip in (False, True)
        }

    def render(self) -> None:
        """Evaluate the facts and render what is new, so that no scrape has to."""
        self._rendering.get()

    def body(self, content_type: str, *, gzip: bool) -> Body:
        """The exposition as of now, by the facts that were last rendered."""
        return self._bodies[content_type, gzip].get()

    def quick_body(self, content_type: str, *, gzip: bool) -> Body | None:
        """Return the same within a few milliseconds, or None if it takes longer."""
        now = self._clock()
        generation = self._generation
        if not generation or sum(len(metric.ages) for metric in generation.dynamic) > MAX_QUICK_AGES:
            return None
        static = generation.static.get((content_type, gzip))
        if not static or not generation.evaluation.is_current(now):
            return None
        return self._assemble(static, generation.dynamic, content_type, now, gzip=gzip)

    def _render(self) -> Generation:
        before = self._generation
        evaluation = self._evaluate(before.evaluation if before else None)
        if before and evaluation.config.collect.user_labels == before.evaluation.config.collect.user_labels:
            rendered = before.sections
        else:
            sections = map(SectionCache, catalogue.sections(evaluation.config.collect.user_labels))
            before, rendered = None, tuple((section, RenderedSection()) for section in sections)
        after = tuple((section, section.render(evaluation, known)) for section, known in rendered)
        pairs = zip(after, rendered, strict=True)
        changed = any(section.cached and new.blocks is not old.blocks for (section, new), (_, old) in pairs)
        static = before.static if before and not changed else {}
        self._generation = Generation(evaluation, after, static, _dynamic_lines(after))
        return self._generation

    def _body(self, content_type: str, *, gzip: bool) -> Body:
        now = self._clock()
        generation = self._generation
        if generation is None or not generation.evaluation.is_current(now):
            generation = self._rendering.get()
        static = generation.static.get((content_type, gzip))
        if static is None:
            static = generation.static[content_type, gzip] = _static_part(generation.sections, content_type, gzip=gzip)
        return self._assemble(static, generation.dynamic, content_type, now, gzip=gzip)

    def _assemble(
        self, static: StaticPart, dynamic: Iterable[DynamicLines], content_type: str, now: datetime, *, gzip: bool
    ) -> Body:
        rendered = [b"".join((m.writer.header(content_type), m.lines, render_ages(m.ages, now))) for m in dynamic]
        plain = b"".join((*rendered, self._direct_metrics(content_type), END[content_type]))
        length = static.plain_length + len(plain)
        if not gzip:
            return Body((*static.parts, plain), length)
        trailer = struct.pack("<LL", zlib.crc32(plain, static.plain_crc), length & 0xFFFFFFFF)
        parts = (_GZIP_HEADER, *static.parts, _compressed(plain).deflated, _GZIP_LAST_BLOCK, trailer)
        return Body(parts, sum(map(len, parts)))


def _static_part(
    sections: Sequence[tuple[SectionCache, RenderedSection]], content_type: str, *, gzip: bool
) -> StaticPart:
    parts: list[CompressedBytes] = []
    for section, rendered in sections:
        for number, writer in enumerate(section.writers if section.cached else ()):
            lines = [block.rendered[number] for block in rendered.blocks if block.rendered[number].plain]
            if lines:
                parts += [_compressed(writer.header(content_type)), *lines]
    plain = tuple(part.plain for part in parts)
    length = sum(map(len, plain))
    if not gzip:
        return StaticPart(plain, length, 0)
    crc = 0
    for chunk in _joined(plain):
        crc = zlib.crc32(chunk, crc)
    return StaticPart(tuple(_joined(part.deflated for part in parts)), length, crc)


def _dynamic_lines(sections: Iterable[tuple[SectionCache, RenderedSection]]) -> tuple[DynamicLines, ...]:
    """The sections that change on every poll, and the ages; metrics without either are left out."""
    metrics: list[DynamicLines] = []
    for section, rendered in sections:
        for number, writer in enumerate(section.writers):
            lines = b"" if section.cached else b"".join(block.rendered[number].plain for block in rendered.blocks)
            ages = tuple(chain.from_iterable(block.ages[number] for block in rendered.blocks))
            if lines or ages:
                metrics.append(DynamicLines(writer, lines, ages))
    return tuple(metrics)


def _joined(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks of about 1 MiB.

    Each call that releases the GIL must reacquire it, which is slow while polls are running: fewer calls are faster.
    """
    chunk: list[bytes] = []
    size = 0
    for part in parts:
        chunk.append(part)
        size += len(part)
        if size >= CHUNK_SIZE:
            yield b"".join(chunk)
            chunk, size = [], 0
    if size:
        yield b"".join(chunk)


def _compressed(plain: bytes) -> CompressedBytes:
    if not plain:
        return CompressedBytes(b"", b"")
    deflater = zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return CompressedBytes(plain, deflater.compress(plain) + deflater.flush(zlib.Z_SYNC_FLUSH))
