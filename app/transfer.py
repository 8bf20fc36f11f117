"""Whole histories in and out: CloudEvents, one a line, in files plain or compressed, on standard input and output."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from app.cloudevents import read_line, write_line
from app.errors import ImportStopped
from app.eventstore.bulk import BATCH, BulkResult, Fact, append_bulk
from app.eventstore.store import EventStore

STANDARD_INPUT = Path("-")
PAGE = 5_000


class Files:
    """The facts in some files, one file after the other, with line numbers that run through all of them."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._starts: list[int] = []
        self._done = 0
        self._open: BinaryIO | None = None
        self.lines = 0
        """Lines read so far."""
        self._size = sum(path.stat().st_size for path in paths) if all(path.is_file() for path in paths) else 0

    @property
    def share(self) -> float | None:
        """How much of the files has been read, 0 to 1; None when that is not to be known."""
        if not self._size:
            return None
        return (self._done + (self._open.tell() if self._open else 0)) / self._size

    def __iter__(self) -> Iterator[Fact]:
        """The facts. Raises ImportStopped at a line that states none, with the number through all files."""
        for path in self._paths:
            self._starts.append(self.lines)
            try:
                yield from self._facts(path)
            except (OSError, EOFError, zlib.error) as error:
                raise ImportStopped(self.lines + 1, f"cannot be read: {error}", 0) from error

    def in_its_file(self, stopped: ImportStopped) -> ImportStopped:
        """The same error with the line's number in its own file, which is named when there are several."""
        index = max(index for index, start in enumerate(self._starts) if start < stopped.line)
        file = str(self._paths[index]) if len(self._paths) > 1 else ""
        return ImportStopped(stopped.line - self._starts[index], stopped.reason, stopped.imported, file)

    def _facts(self, path: Path) -> Iterator[Fact]:
        with ExitStack() as stack:
            raw = sys.stdin.buffer if path == STANDARD_INPUT else stack.enter_context(path.open("rb"))
            self._open = raw
            stack.callback(self._read, raw)  # before it is closed, also when a line of it stops the import
            for line in _unpacked(raw):
                self.lines += 1
                if not line.isspace():
                    yield self._fact(line)

    def _read(self, raw: BinaryIO) -> None:
        self._open = None
        self._done += raw.tell() if self._size else 0

    def _fact(self, line: bytes) -> Fact:
        try:
            return read_line(line, self.lines)
        except ValueError as error:
            raise ImportStopped(self.lines, str(error), 0) from None


async def import_files(
    store: EventStore, files: Files, *, batch: int = BATCH, on_progress: Callable[[int, int], None] = lambda seen, added: None
) -> BulkResult:
    """Append what the files state and the log does not hold yet.

    `on_progress` is told after each transaction how many events were seen and added. Raises ImportStopped with the line,
    its file when there are several, and how many events went in; nothing of that line's transaction stays.
    """
    try:
        return await append_bulk(store, files, batch=batch, on_progress=on_progress)
    except ImportStopped as stopped:
        raise files.in_its_file(stopped) from stopped


async def export_lines(store: EventStore, first: int = 1, last: int | None = None) -> AsyncIterator[bytes]:
    """The log from position `first` to `last`, both included, as lines; without `last` to its present end."""
    end = await store.head() if last is None else last
    after = first - 1
    while page := await store.read(after, PAGE, until=end):
        for recorded in page:
            yield write_line(recorded, store.codec)
        after = page[-1].position


def _unpacked(raw: BinaryIO) -> io.BufferedReader:
    """The stream itself, or what is in it when it begins like a gzip file."""
    assert isinstance(raw, io.BufferedReader), "open() and standard input are buffered"
    if raw.peek(2)[:2] == b"\x1f\x8b":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw))
    return raw
