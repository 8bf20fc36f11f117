"""The command `hindsight`, as a person and a script use it, on a real PostgreSQL: in processes of its own where signals, pipes
or servers matter, in this process where it is about what a command says.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.commands import operator
from app.domain.user import USER
from app.domain.user_events import PasswordChanged, UserCreated
from app.eventstore.batcher import Batcher
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.store import EventStore
from app.settings import PREFIX
from app.wiring import AGGREGATES
from tests.conftest import administer, database_url
from tests.projections.brittle import damage
from tests.projections.histories import History
from tests.test_transfer import LINES, changed, file_of

COMMAND = (sys.executable, "-m", "app.cli")
ROOT = Path(__file__).parents[1]
PATIENCE = 300
ANN = UUID("01a1fd54-7c1e-7d3c-8f7a-64f0f8a4b9d2")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Without what this machine has configured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    own = {"HINDSIGHT_DEADLINE_MS": str(PATIENCE * 1000), "HINDSIGHT_DATA_DIR": str(tmp_path / "own")}
    return kept | {"PYTHONPATH": str(ROOT)} | own


@pytest.fixture
def bare_url(postgres: str) -> Iterator[str]:
    """The URL of a database without migrations."""
    asyncio.run(administer(postgres, "CREATE DATABASE bare"))
    yield database_url(postgres, "bare")
    asyncio.run(administer(postgres, "DROP DATABASE bare WITH (FORCE)"))


@pytest.fixture
def configured(environment: dict[str, str], url: str) -> dict[str, str]:
    return environment | {"HINDSIGHT_DATABASE_URL": url}


def hindsight(environment: dict[str, str], *args: str | Path) -> Result:
    """What a command says, and its code, in this process; its settings are those of the environment only."""
    others = {name: None for name in os.environ if name.startswith(PREFIX)}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return CliRunner().invoke(app, [str(each) for each in args], env={**others, **environment})
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def answer(environment: dict[str, str], *args: str | Path) -> Any:
    """What a command that succeeds prints for programs."""
    result = hindsight(environment, *args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def in_a_process(environment: dict[str, str], *args: str | Path, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The same, as a shell runs it."""
    return subprocess.run([*COMMAND, *args], env=environment, input=input, capture_output=True, timeout=PATIENCE, check=False)


@contextmanager
def started(environment: dict[str, str], *args: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*COMMAND, *args], env=environment, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its workers too


def test_help_names_every_command() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    commands = ("serve", "migrate", "import", "export", "demo", "projections", "dead-letters", "snapshots", "schema", "bench")
    assert all(re.search(rf"\b{command}\b", result.stdout) for command in commands)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["serve", "--port", "none"], "'--port'"),
        (["import", "no-such-file.jsonl"], "there is no file no-such-file.jsonl"),
        (["import"], "Missing argument 'FILE…'"),
        (["projections"], "Missing command"),
    ],
)
def test_wrong_use_is_code_2_and_one_line(args: list[str], reason: str) -> None:
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_wrong_setting_is_one_line_that_names_it() -> None:
    result = CliRunner().invoke(app, ["export"], env={"HINDSIGHT_POOL_SIZE": "many"})
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: HINDSIGHT_POOL_SIZE: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize("args", [["--debug", "export"], ["export", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(args: list[str]) -> None:
    result = CliRunner().invoke(app, args, env={"HINDSIGHT_POOL_SIZE": "many"})
    assert result.exit_code == 2
    assert "Traceback" in result.stderr


def test_a_database_that_does_not_answer_is_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    nobody = environment | {"HINDSIGHT_DATABASE_URL": f"postgresql://nobody@/none?host={tmp_path}"}
    result = hindsight(nobody, "export")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: PostgreSQL does not answer")
    assert result.stderr.count("\n") == 1


def test_everything_works_with_nothing_configured(environment: dict[str, str], tmp_path: Path) -> None:
    data_dir = ("--data-dir", tmp_path / "data")
    imported = in_a_process(environment, *data_dir, "import", file_of(tmp_path, LINES), "--json")
    assert imported.returncode == 0, imported.stderr.decode()
    result = json.loads(imported.stdout)
    assert (result["seen"], result["added"], result["position"]) == (300, 300, 300)
    assert in_a_process(environment, "export", *data_dir).stdout == b"".join(LINES)
    assert not (tmp_path / "data/postgres/postmaster.pid").exists()


def test_import_reads_standard_input_and_compressed_lines(configured: dict[str, str], tmp_path: Path) -> None:
    imported = in_a_process(configured, "import", "-", "--json", input=gzip.compress(b"".join(LINES)))
    assert json.loads(imported.stdout)["added"] == 300, imported.stderr.decode()
    assert answer(configured, "import", file_of(tmp_path, LINES))["added"] == 0
    assert hindsight(configured, "export", "--from", "2", "--to", "3").stdout_bytes == b"".join(LINES[1:3])
    statuses = answer(configured, "projections", "status")
    assert {status["name"] for status in statuses} >= {"users", "roles", "tenants"}
    assert {status["lag"] for status in statuses} == {0}


async def append_what_nobody_can_decode(url: str) -> None:
    """Three events of the user ANN, of which the second cannot be decoded."""
    database = await Database.open(url, timeout=PATIENCE)
    store = EventStore(database, Codec(AGGREGATES))
    async with Batcher(database, store.codec) as batcher:
        history = History(batcher)
        new_password = PasswordChanged(changed_by="ann")
        for event in (UserCreated(username="ann", email="ann@example.com"), new_password, new_password):
            await history.add(USER, ANN, event, tenant_id=ANN)
    await damage(store, 2)
    await database.close()


def test_parked_events_are_listed_shown_retried_and_skipped(configured: dict[str, str], url: str, tmp_path: Path) -> None:
    asyncio.run(append_what_nobody_can_decode(url))
    assert answer(configured, "import", file_of(tmp_path, []))["position"] == 3
    assert {each["name"]: each["parked"] for each in answer(configured, "projections", "status")}["users"] == 1
    doctor = hindsight(configured, "doctor")
    assert doctor.exit_code == 3
    assert "parked keys: 1" in doctor.stdout
    (letter,) = answer(configured, "dead-letters", "list")
    assert (letter["projection"], letter["key"], letter["position"], letter["behind"]) == ("users", str(ANN), 2, 1)
    table = hindsight(configured, "dead-letters", "list", "users").stdout
    assert re.search(rf"users +{ANN} +2 +PasswordChanged +1 +1 +PasswordChanged of schema version 1 in stream", table)
    shown = hindsight(configured, "dead-letters", "show", "users", str(ANN)).stdout
    assert re.search(r"^position +2$", shown, re.MULTILINE)
    assert "Traceback (most recent call last)" in shown

    retried = hindsight(configured, "dead-letters", "retry", "users")
    assert retried.stdout == "0 events folded; 1 key of the table is parked.\n"
    skip = ("dead-letters", "skip", "users", str(ANN), "2")
    assert hindsight(configured, *skip).stderr.startswith("Error: Missing option '--reason'")
    assert answer(configured, *skip, "--reason", "damaged") == {"applied": 1, "parked": 0}
    gone = hindsight(configured, "dead-letters", "show", "users", str(ANN))
    assert gone.exit_code == 2
    assert gone.stderr.startswith("Error: key: no event of users waits at")
    (kept,) = answer(configured, "dead-letters", "list", "--skipped")
    assert (kept["skipped_by"], kept["skipped_reason"]) == (operator(), "damaged")


def test_a_wrong_line_is_code_1_and_one_line_of_reasons(configured: dict[str, str], tmp_path: Path) -> None:
    result = hindsight(configured, "import", file_of(tmp_path, [*LINES[:20], changed(LINES[20], time="never")]))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: line 21: ")
    assert result.stderr.count("\n") == 1


def test_an_interrupted_import_leaves_nothing_half_done(configured: dict[str, str]) -> None:
    with started(configured, "import", "-", "--batch", "100") as process:
        assert process.stdin
        process.stdin.write(b"".join(LINES[:250]))
        process.stdin.flush()
        wait_until_read(process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert errors == b"Stopped; nothing is half done.\n"
    kept = hindsight(configured, "export").stdout_bytes.splitlines(keepends=True)
    assert len(kept) in (0, 100, 200)
    assert kept == LINES[: len(kept)]


def wait_until_read(process: subprocess.Popen[bytes]) -> None:
    """Fill the pipe until the reader must have taken all that went in before: it holds 64 KiB."""
    assert process.stdin
    process.stdin.write(b"\n" * 200_000)
    process.stdin.flush()


def test_an_export_whose_reader_goes_away_ends_quietly(configured: dict[str, str]) -> None:
    assert hindsight(configured, "demo", "--events", "3000").exit_code == 0
    with started(configured, "export") as process:
        assert process.stdout
        assert process.stdout.readline().startswith(b'{"specversion":"1.0"')
        process.stdout.close()
        process.wait(PATIENCE)
        assert process.stderr
        assert process.stderr.read() == b""


def test_serve_shows_demo_data_and_stops_in_order(environment: dict[str, str], tmp_path: Path) -> None:
    with started(environment, "--data-dir", tmp_path, "serve", "--port", "0", "--demo") as process:
        url, token = said_url(process), said(process, r"token[^:]+: (\S+)")
        with urllib.request.urlopen(url, timeout=PATIENCE) as page:
            assert page.status == 200
        everyone = "{ users(filter: { includeDeleted: true }, first: 1) { totalCount } }"
        assert asked(url, everyone, token) == {"users": {"totalCount": 1000}}
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors.decode()
    assert not (tmp_path / "postgres/postmaster.pid").exists()


def test_serve_answers_from_several_processes(configured: dict[str, str]) -> None:
    with started(configured, "serve", "--port", "0", "--workers", "2") as process:
        assert asked(said_url(process), "{ head }", answer_of(configured, "token", "--all-tenants")) == {"head": 0}
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_a_port_that_is_taken_is_one_line(configured: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = hindsight(configured, "serve", "--port", port)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use")
    assert result.stderr.count("\n") == 1


def test_beyond_loopback_nothing_is_served_without_authentication(configured: dict[str, str]) -> None:
    result = hindsight(configured | {"HINDSIGHT_AUTHENTICATION": "off"}, "serve", "--port", "0", "--host", "0.0.0.0")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: HINDSIGHT_AUTHENTICATION: is off")


def said_url(process: subprocess.Popen[bytes]) -> str:
    """The address that `serve` prints."""
    return said(process, r"(http://\S+/) ")


def said(process: subprocess.Popen[bytes], pattern: str) -> str:
    """What a process that serves prints there."""
    assert process.stdout
    for line in process.stdout:
        if found := re.search(pattern, line.decode()):
            return found[1]
    pytest.fail(process.communicate(timeout=PATIENCE)[1].decode())


def answer_of(environment: dict[str, str], *args: str) -> str:
    """What a command that succeeds prints, in one line."""
    result = hindsight(environment, *args)
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


def asked(url: str, query: str, token: str) -> Any:
    body = json.dumps({"query": query}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{url}graphql", body, headers, method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        document = json.load(response)
    assert "errors" not in document, document
    return document["data"]


def test_a_database_without_migrations_is_refused_until_migrated(environment: dict[str, str], bare_url: str) -> None:
    bare = environment | {"HINDSIGHT_DATABASE_URL": bare_url}
    refused = hindsight(bare, "export")
    assert refused.exit_code == 2
    assert "run `hindsight migrate` first" in refused.stderr
    findings = hindsight(bare, "doctor", "--json")
    assert findings.exit_code == 3
    assert [finding["what"] for finding in json.loads(findings.stdout) if not finding["ok"]] == ["migrations"]

    assert hindsight(bare, "migrate").exit_code == 0
    assert hindsight(bare, "doctor").exit_code == 0


def test_the_doctor_names_a_setting_that_does_not_exist(configured: dict[str, str]) -> None:
    result = hindsight(configured | {"HINDSIGHT_WAIT_SECONDS": "2"}, "doctor")
    assert result.exit_code == 3
    assert "no setting has the name HINDSIGHT_WAIT_SECONDS" in result.stdout


def test_the_schema_is_printed_as_it_is_committed() -> None:
    result = CliRunner().invoke(app, ["schema", "print"])
    assert result.exit_code == 0
    assert result.stdout == (ROOT / "schema.graphql").read_text()


def test_the_schema_breaks_no_client_of_the_last_release() -> None:
    checked = hindsight({}, "schema", "check", ROOT / "released.graphql")
    assert checked.exit_code == 0, f"{checked.stdout}: see `make released`"


def test_a_schema_is_checked_for_what_breaks_clients(tmp_path: Path) -> None:
    schema = (ROOT / "schema.graphql").read_text()
    old = tmp_path / "old.graphql"
    old.write_text(schema)
    assert hindsight({}, "schema", "check", old).stdout == "The schema is the same.\n"
    old.write_text(schema.replace("order: EventOrder! = OLDEST_FIRST", "order: EventOrder! = NEWEST_FIRST"))
    assert {change["impact"] for change in answer({}, "schema", "check", old)} == {"dangerous"}
    old.write_text(schema.replace("  viewer: Viewer\n", "  viewer: Viewer!\n"))
    broken = hindsight({}, "schema", "check", old)
    assert broken.exit_code == 3
    assert re.search("breaking +FIELD_CHANGED_KIND +Field Query.viewer", broken.stdout)
    old.write_text("type Query {")
    wrong = hindsight({}, "schema", "check", old)
    assert wrong.exit_code == 2
    assert wrong.stderr == f"Error: {old}: is no GraphQL schema: Syntax Error: Expected Name, found <EOF>. {old}:1:13\n"
