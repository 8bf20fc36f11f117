"""Persisted documents: a client sends the SHA-256 of a document in place of the document.

After the appendix of the GraphQL over HTTP specification (`documentId: "sha256:…"`), and as Apollo's clients do
(`extensions.persistedQuery`): https://www.apollographql.com/docs/apollo-server/performance/apq
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import msgspec

from app.api.documents import KEPT, LONGEST_KEPT
from app.api.errors import RequestError
from app.errors import ConfigurationError

PREFIX = "sha256:"
DIGEST = re.compile(r"[0-9a-f]{64}")

UNKNOWN = {
    "auto": "there is no document with this id here; send it once together with its id",
    "trusted": "this server carries out only the documents that its operator trusts, and this is none of them",
}

Mode = Literal["off", "auto", "trusted"]


class Persisted:
    """The documents that clients may name: by `auto` those that were sent with their id before, by `trusted` given ones only."""

    def __init__(self, mode: Mode, trusted: Mapping[str, str]) -> None:
        self._mode = mode
        self._trusted = trusted
        self._sent: OrderedDict[str, str] = OrderedDict()
        """By their digests, the ones that were asked for lately; the latest is the last."""

    def text(self, sent: str, digest: str) -> str:
        """The document of a request that sent one, or named one by its digest, or both.

        Raises RequestError when there is none that may be carried out.
        """
        if self._mode == "trusted":
            return self._found(self._trusted.get(digest or _digest(sent)))
        if not digest:
            return sent
        if self._mode == "off":
            raise RequestError(400, "PERSISTED_QUERY_NOT_SUPPORTED", "this server takes no ids of documents; send the document")
        if sent:
            self._remember(sent, digest)
        elif digest in self._sent:
            self._sent.move_to_end(digest)
        return self._found(self._sent.get(digest))

    def _remember(self, text: str, digest: str) -> None:
        if _digest(text) != digest:
            raise RequestError(400, "BAD_REQUEST", "the id is not the SHA-256 of the document that came with it")
        if len(text) > LONGEST_KEPT:
            raise RequestError(400, "BAD_REQUEST", f"a document that is kept may have {LONGEST_KEPT} characters")
        self._sent[digest] = text
        self._sent.move_to_end(digest)
        if len(self._sent) > KEPT:
            self._sent.popitem(last=False)

    def _found(self, text: str | None) -> str:
        if text is None:
            raise RequestError(400, "PERSISTED_QUERY_NOT_FOUND", UNKNOWN[self._mode])
        return text


def digest(parameters: Mapping[str, Any], extensions: Mapping[str, Any]) -> str:
    """The digest by which a request names its document; none when it does not. Raises RequestError for what is no digest."""
    apollo = extensions.get("persistedQuery")
    named = parameters.get("documentId")
    if named is None and apollo is None:
        return ""
    if named is None:
        found: Any = apollo.get("sha256Hash") if isinstance(apollo, dict) else None
    else:
        found = named.removeprefix(PREFIX) if isinstance(named, str) and named.startswith(PREFIX) else None
    if not (isinstance(found, str) and DIGEST.fullmatch(found.lower())):
        raise RequestError(400, "BAD_REQUEST", f"documentId must be {PREFIX} and the document's SHA-256 in hexadecimal digits")
    return found.lower()


def trusted_documents(path: Path | None) -> Mapping[str, str]:
    """The documents of a file, by their digests: a JSON object of texts by ids, as Relay's compiler writes it.

    Raises ConfigurationError for one that cannot be read, or whose ids are not the SHA-256 of their texts.
    """
    if path is None:
        return {}
    try:
        documents = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigurationError(f"the trusted documents cannot be read from {path}: {error}") from None
    for id, text in documents.items():
        if _digest(text) != id.removeprefix(PREFIX):
            raise ConfigurationError(f"{path}: {id} is not the SHA-256 of its document")
    return {_digest(text): text for text in documents.values()}


def _digest(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()
