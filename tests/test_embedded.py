"""The embedded PostgreSQL, with real processes that come, go and are killed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.embedded import bundled_bin_dir, memory, running, try_lock
from app.errors import ConfigurationError
from tests.conftest import server_folder

FAST = {"fsync": "off"}

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to give up its rights")

USE = """
import os, sys
from pathlib import Path
from app.embedded import running
data_dir, uid = sys.argv[1:]
if int(uid) != os.geteuid():
    os.setgroups([]), os.setgid(int(uid)), os.setuid(int(uid))
with running(Path(data_dir), options={"fsync": "off"}) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(data_dir: Path, uid: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that uses the server of a data folder until its standard input ends, or until it is killed."""
    command = [sys.executable, "-c", USE, str(data_dir), str(os.geteuid() if uid is None else uid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def ask(url: str, question: str) -> Any:
    async def answer() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(question)
        finally:
            await connection.close()

    return asyncio.run(answer())


def started_at(url: str) -> Any:
    return ask(url, "SELECT pg_postmaster_start_time()")


def pid_of_server(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def is_stopped(data_dir: Path) -> bool:
    with (data_dir / "postgres.server").open("ab") as lock:
        return try_lock(lock)


@pytest.fixture(scope="module")
def created() -> Iterator[Path]:
    """A data folder with a fresh cluster, for copying."""
    with server_folder() as folder:
        with running(folder / "data", options=FAST):
            pass
        yield folder / "data"


@pytest.fixture
def data_dir(created: Path, folder: Path) -> Path:
    """A data folder with a cluster of its own."""
    return copy_of(created, folder / "data")


def copy_of(created: Path, data_dir: Path) -> Path:
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", created, data_dir], check=True)
    return data_dir


def test_it_answers_on_a_private_socket_only_and_stops_with_its_user(data_dir: Path) -> None:
    with running(data_dir) as url:
        assert ask(url, "SELECT current_setting('server_version_num')::int") >= 180000
        assert ask(url, "SELECT current_setting('listen_addresses')") == ""
        assert ask(url, "SELECT current_setting('fsync')") == "on"
        assert ask(url, "SELECT current_setting('server_encoding')") == "UTF8"
        assert stat.S_IMODE((data_dir / "postgres").stat().st_mode) == 0o700
    assert is_stopped(data_dir)


def test_it_keeps_what_was_written(data_dir: Path) -> None:
    with running(data_dir) as url:
        ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with running(data_dir) as url:
        assert ask(url, "SELECT answer FROM kept") == 42


def test_it_takes_a_quarter_of_the_memory_unless_told(data_dir: Path) -> None:
    buffers = "SELECT setting::bigint * 8192 FROM pg_settings WHERE name = 'shared_buffers'"
    with running(data_dir, options=FAST) as url:
        assert abs(ask(url, buffers) - min(memory() / 4, 1 << 30)) < 1 << 20
    with running(data_dir, options={**FAST, "shared_buffers": "16MB"}) as url:
        assert ask(url, buffers) == 16 << 20


def test_a_container_has_as_much_memory_as_it_is_allowed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = folder / "memory.max"
    monkeypatch.setattr("app.embedded.CONTAINER_LIMIT", limit)
    assert memory() == physical
    for text, expected in (("max\n", physical), ("268435456\n", 256 << 20), (f"{2 * physical}\n", physical)):
        limit.write_text(text)
        assert memory() == expected


@pytest.mark.parametrize(
    "name", ["with space", "it's 100% + “quoted”, ünïcode", "deep/" * 30 + "end"], ids=["space", "odd", "long"]
)
def test_any_path_will_do(created: Path, folder: Path, name: str) -> None:
    data_dir = copy_of(created, folder / name)
    with running(data_dir, options=FAST) as url:
        assert ask(url, "SELECT current_setting('data_directory')") == str(data_dir / "postgres")
        assert ask(url, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'checkpointer'") == 1


def test_a_second_user_joins_and_the_last_one_stops_the_server(data_dir: Path) -> None:
    with another_process(data_dir) as other:
        first_start = started_at(url_of(other))
        with running(data_dir) as url:
            assert started_at(url) == first_start
            other.communicate()
            assert other.returncode == 0
            assert started_at(url) == first_start
    assert is_stopped(data_dir)


def test_the_first_to_leave_stops_nothing(data_dir: Path) -> None:
    with another_process(data_dir) as other:
        url = url_of(other)
        with running(data_dir):
            pass
        assert ask(url, "SELECT 1") == 1
        other.communicate()
    assert is_stopped(data_dir)


def test_two_processes_that_come_at_once_to_an_empty_folder_share_one_server(folder: Path) -> None:
    with another_process(folder / "new") as one, another_process(folder / "new") as two:
        assert started_at(url_of(one)) == started_at(url_of(two))
        one.communicate()
        two.communicate()
        assert (one.returncode, two.returncode) == (0, 0)
    assert is_stopped(folder / "new")


def test_a_killed_user_leaves_a_server_that_the_next_one_joins_and_stops(data_dir: Path) -> None:
    with another_process(data_dir) as killed:
        first_start = started_at(url_of(killed))
        killed.kill()
    assert not is_stopped(data_dir)
    with running(data_dir) as url:
        assert started_at(url) == first_start
    assert is_stopped(data_dir)


def test_a_killed_server_starts_again_with_all_that_was_committed(data_dir: Path) -> None:
    with another_process(data_dir) as killed:
        ask(url_of(killed), "CREATE TABLE kept AS SELECT 42 AS answer")
        killed.kill()
    os.kill(pid_of_server(data_dir), signal.SIGKILL)
    with running(data_dir) as url:
        assert ask(url, "SELECT answer FROM kept") == 42
    assert is_stopped(data_dir)


def test_a_server_that_died_before_its_user_is_no_error(data_dir: Path) -> None:
    with running(data_dir, options=FAST):
        os.kill(pid_of_server(data_dir), signal.SIGKILL)
    with running(data_dir, options=FAST) as url:
        assert ask(url, "SELECT 1") == 1


def test_a_stale_process_id_that_is_somebody_elses_by_now_is_no_obstacle(data_dir: Path) -> None:
    owner = (data_dir / "postgres").stat()
    with subprocess.Popen(["sleep", "600"], user=owner.st_uid if os.geteuid() == 0 else None) as stranger:
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            left_behind = data_dir / "postgres" / name
            left_behind.write_text(f"{stranger.pid}\n{data_dir / 'postgres'}\n1700000000\n5432\n\n\n")
            os.chown(left_behind, owner.st_uid, owner.st_gid)
        with running(data_dir, options=FAST) as url:
            assert ask(url, "SELECT 1") == 1
        assert stranger.poll() is None
        stranger.kill()


def test_a_cluster_whose_making_was_cut_short_is_made_again(folder: Path) -> None:
    (folder / "postgres.new").mkdir()
    (folder / "postgres.new" / "PG_VERSION").write_text("18\n")
    with running(folder, options=FAST) as url:
        assert ask(url, "SELECT 1") == 1
    assert not (folder / "postgres.new").exists()


def test_an_error_says_what_and_where_in_one_line(data_dir: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"invalid value for parameter \"shared_buffers\"") as caught:
        running(data_dir, options={"shared_buffers": "plenty"}).__enter__()
    assert str(data_dir / "postgres") in caught.value.message
    assert "\n" not in caught.value.message
    assert is_stopped(data_dir)


def test_a_cluster_of_another_version_is_named(data_dir: Path) -> None:
    (data_dir / "postgres" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(ConfigurationError, match=r"initialized by PostgreSQL version 9\.6"):
        running(data_dir).__enter__()


def test_missing_programs_are_named(data_dir: Path, folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=str(folder / "nowhere" / "pg_isready")):
        running(data_dir, bin_dir=folder / "nowhere").__enter__()


def test_a_data_folder_that_is_a_file_is_named(folder: Path) -> None:
    (folder / "data").write_text("not a folder")
    with pytest.raises(ConfigurationError, match=f"cannot run in {folder / 'data'}"):
        running(folder / "data").__enter__()


@as_root
def test_for_root_the_server_runs_as_another_user_who_may_pass_but_not_look(
    created: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data_dir = copy_of(created, folder / "home" / "data")
    data_dir.parent.chmod(0o700)
    with caplog.at_level(logging.WARNING), running(data_dir, options=FAST) as url:
        assert ask(url, "SELECT 1") == 1
        assert Path(f"/proc/{pid_of_server(data_dir)}").stat().st_uid != 0
    assert stat.S_IMODE(data_dir.parent.stat().st_mode) == 0o701
    assert f"chmod o+x {data_dir.parent}" in caplog.text


@as_root
def test_it_runs_for_an_ordinary_user_and_for_root_after_them(data_dir: Path) -> None:
    ordinary = 65534
    subprocess.run(["chown", "-R", str(ordinary), data_dir], check=True)
    for step in (*data_dir.parents, *bundled_bin_dir().parents):
        step.chmod(step.stat().st_mode | stat.S_IXOTH)
    with another_process(data_dir, uid=ordinary) as process:
        ask(url_of(process), "CREATE TABLE kept AS SELECT 42 AS answer")
        process.communicate()
    assert is_stopped(data_dir)
    with running(data_dir, options=FAST) as url:
        assert ask(url, "SELECT answer FROM kept") == 42
        assert Path(f"/proc/{pid_of_server(data_dir)}").stat().st_uid == ordinary
