"""The keys of tokens: a JSON Web Key Set (RFC 7517) in a file or behind a URL, read again while the process runs."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import urllib.request
from pathlib import Path
from typing import Any

import anyio
import orjson
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet, OKPKey

from app.errors import ConfigurationError

SIGNATURE = "Ed25519"
"""The algorithm of the development key: EdDSA by its name since RFC 9864."""

FILE_LASTS, URL_LASTS = 5.0, 300.0
"""Seconds after which a key set is read again."""
PAUSE = 5.0
"""Seconds between two looks for a key that is not there, so that made-up tokens do not make work elsewhere."""
PATIENCE = 5.0
"""Seconds that a URL may take."""

log = logging.getLogger(__name__)


class Keys:
    """The key set as it is now. Adding a key, and withdrawing one, needs no restart."""

    def __init__(self, source: str, lasts: float, pause: float) -> None:
        self._source = source
        self._lasts = lasts
        self._pause = pause
        self._keys = KeySet([])
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    @classmethod
    async def open(cls, source: str, *, lasts: float | None = None, pause: float = PAUSE) -> Keys:
        """The keys of that file or URL. Raises ConfigurationError when it cannot be read.

        They are read again after `lasts` seconds, and after `pause` seconds when a token names one that is not there.
        """
        usual = URL_LASTS if _is_url(source) else FILE_LASTS
        keys = cls(source, usual if lasts is None else lasts, pause)
        try:
            await keys._read()
        except (OSError, ValueError, JoseError) as error:
            raise ConfigurationError(f"the keys of tokens cannot be read from {source}: {error}") from error
        return keys

    async def named(self, id: str | None) -> KeySet:
        """The keys, read again if they are old or lack that one. Where they cannot be read, the former ones stay."""
        if self._is_old(id):
            async with self._reading:
                if self._is_old(id):  # others may have waited for the same
                    try:
                        await self._read()
                    except (OSError, ValueError, JoseError) as error:
                        self._read_at = time.monotonic()
                        log.warning("the keys of tokens stay as they are; they cannot be read from %s: %s", self._source, error)
        return self._keys

    @property
    def can_sign(self) -> bool:
        """Whether one of them is private."""
        return any(key.is_private for key in self._keys.keys)

    def signing(self) -> Key:
        """The first key that can sign. Raises ConfigurationError when there is none."""
        for key in self._keys.keys:
            if key.is_private:
                return key
        raise ConfigurationError(f"{self._source} holds no private key: it can tell tokens, and somebody else has to make them")

    def _is_old(self, id: str | None) -> bool:
        age = time.monotonic() - self._read_at
        return age > self._lasts or (age > self._pause and all(key.kid != id for key in self._keys.keys))

    async def _read(self) -> None:
        text = await anyio.to_thread.run_sync(_fetched if _is_url(self._source) else _from_file, self._source)
        document: Any = orjson.loads(text)
        if not isinstance(document, dict) or not isinstance(document.get("keys"), list) or not document["keys"]:
            raise ValueError('a key set is a JSON object with the list "keys", which is not empty')
        self._keys = KeySet.import_key_set(document)  # type: ignore[arg-type]  # joserfc checks what is in it
        self._read_at = time.monotonic()


def development_keys(folder: Path) -> str:
    """The file with this machine's own key, made when there is none, for its owner's eyes only."""
    file = folder / "token-key.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        key = OKPKey.generate_key("Ed25519", {"alg": SIGNATURE, "use": "sig"}, auto_kid=True)
        unfinished = folder / f"token-key.{os.getpid()}"
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new:
            new.write(orjson.dumps({"keys": [key.as_dict(private=True)]}))
        try:
            os.link(unfinished, file)  # of several processes the first one's stays
        except FileExistsError:
            pass
        finally:
            unfinished.unlink()
    return str(file)


def _is_url(source: str) -> bool:
    return source.startswith(("https://", "http://"))


def _fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        body: bytes = answer.read()
    return body


def _from_file(path: str) -> bytes:
    return Path(path).read_bytes()
