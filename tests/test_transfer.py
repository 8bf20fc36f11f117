"""What is exported can be imported; a wrong line stops the import, and after its mending the same import does the rest."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from app.cloudevents import write_line
from app.demo import history
from app.domain.aggregate import Event
from app.errors import ImportStopped
from app.eventstore.bulk import Fact
from app.eventstore.codec import Codec
from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore
from app.transfer import Files, export_lines, import_files
from app.wiring import AGGREGATES

pytestmark = pytest.mark.anyio

CODEC = Codec(AGGREGATES)


def event_of(fact: Fact) -> Event:
    assert not isinstance(fact.data, dict)
    return CODEC.decode(fact.type, fact.schema_version, fact.data)


def as_line(position: int, fact: Fact) -> bytes:
    """The line that an export would write."""
    recorded = RecordedEvent(
        position=position,
        event_id=fact.event_id,
        stream_id=fact.stream_id,
        stream_type=fact.stream_type,
        version=fact.version,
        type=fact.type,
        schema_version=fact.schema_version,
        tenant_id=fact.tenant_id,
        event=event_of(fact),
        metadata_json=msgspec.json.encode(fact.metadata).decode(),
        occurred_at=fact.occurred_at,
        recorded_at=fact.occurred_at,
    )
    return write_line(recorded, CODEC)


LINES = [as_line(position, fact) for position, fact in enumerate(history(CODEC, users=40, events=300, seed=3), start=1)]


def changed(line: bytes, **changes: Any) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(line) | changes) + b"\n"


def file_of(tmp_path: Path, lines: Sequence[bytes], name: str = "events.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(b"".join(lines))
    return path


async def exported(store: EventStore, first: int = 1, last: int | None = None) -> list[bytes]:
    return [line async for line in export_lines(store, first, last)]


async def test_an_export_of_what_was_imported_is_the_same_to_the_byte(store: EventStore, tmp_path: Path) -> None:
    result = await import_files(store, Files([file_of(tmp_path, LINES)]))
    assert (result.seen, result.added, result.position) == (300, 300, 300)
    assert await exported(store) == LINES


async def test_importing_again_adds_nothing(store: EventStore, tmp_path: Path) -> None:
    path = file_of(tmp_path, LINES)
    await import_files(store, Files([path]))
    again = await import_files(store, Files([path]))
    assert (again.seen, again.added, again.position) == (300, 0, 300)


async def test_a_part_of_the_log_can_be_exported(store: EventStore, tmp_path: Path) -> None:
    await import_files(store, Files([file_of(tmp_path, LINES)]))
    assert await exported(store, 10, 12) == LINES[9:12]
    assert await exported(store, 299) == LINES[298:]
    assert await exported(store, 301) == []


async def test_several_files_plain_and_compressed_are_one_history(store: EventStore, tmp_path: Path) -> None:
    packed = tmp_path / "first.jsonl.gz"
    packed.write_bytes(gzip.compress(b"".join(LINES[:100])))
    result = await import_files(store, Files([packed, file_of(tmp_path, LINES[100:])]))
    assert result.added == 300
    assert await exported(store) == LINES


async def test_blank_lines_are_passed_over_and_counted(store: EventStore, tmp_path: Path) -> None:
    path = file_of(tmp_path, [LINES[0], b"\n", b"  \r\n", b"nonsense\n"])
    with pytest.raises(ImportStopped, match="line 4: not JSON"):
        await import_files(store, Files([path]), batch=1)
    assert await store.head() == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "UserPromoted"}, "UserPromoted"),
        ({"data": {}}, "username"),
        ({"data": ["username"]}, "object"),
        ({"sequence": "5"}, "version"),
        ({"id": msgspec.json.decode(LINES[0])["id"]}, "in the log already"),
        ({"subject": f"Role/{uuid4()}"}, "Role"),
        ({"time": "yesterday"}, "time"),
    ],
)
async def test_a_wrong_line_stops_the_import_and_mended_it_goes_on(
    store: EventStore, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    number = next(number for number, line in enumerate(LINES) if number > 100 and b'"UserCreated"' in line)
    wrong = file_of(tmp_path, [*LINES[:number], changed(LINES[number], **changes), *LINES[number + 1 :]])
    with pytest.raises(ImportStopped, match=rf"^line {number + 1}: .*{reason}.*; \d+ events went in before") as stopped:
        await import_files(store, Files([wrong]), batch=40)
    assert stopped.value.imported == await store.head()
    assert number - 40 <= stopped.value.imported <= number
    assert await exported(store) == LINES[: stopped.value.imported]

    await import_files(store, Files([file_of(tmp_path, LINES, "mended.jsonl")]))
    assert await exported(store) == LINES


async def test_of_several_files_the_one_with_the_wrong_line_is_named(store: EventStore, tmp_path: Path) -> None:
    good, wrong = file_of(tmp_path, LINES[:50], "good.jsonl"), file_of(tmp_path, [*LINES[50:53], b"{}\n"], "wrong.jsonl")
    with pytest.raises(ImportStopped, match=r"^line 4 of .*wrong\.jsonl: Object missing required field"):
        await import_files(store, Files([good, wrong]))


async def test_a_file_that_was_cut_off_stops_the_import_at_the_cut(store: EventStore, tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(LINES))
    path = file_of(tmp_path, [whole[: len(whole) // 2]], "cut.jsonl.gz")
    with pytest.raises(ImportStopped, match=r"cannot be read: .*ended before the end"):
        await import_files(store, Files([path]), batch=20)
    head = await store.head()
    assert await exported(store) == LINES[:head]


def test_how_much_was_read_is_known_on_the_way(tmp_path: Path) -> None:
    files = Files([file_of(tmp_path, LINES[:150], "1"), file_of(tmp_path, LINES[150:], "2")])
    shares = [files.share for _ in files]
    assert shares == sorted(shares, key=lambda share: share or 0)
    assert files.share == 1
    assert Files([Path("-")]).share is None
