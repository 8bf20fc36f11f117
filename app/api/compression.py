"""Answers made smaller, as far as the client understands it.

Where an attacker's text and a secret are compressed together, the length of the answer tells how alike they are (BREACH).
It takes requests that a victim's browser sends with the victim's rights for a page of the attacker's; here the rights are in
a header that no foreign page can make a browser send.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import zstandard

LEAST = 1_000
"""Bytes below which it is not worth while."""
FAST = 1

ENCODINGS = ("zstd", "gzip")
"""The ones that there are, the better one first."""


def compressed(body: bytes, accepted: str) -> tuple[bytes, str]:
    """The body and its content coding, after the header Accept-Encoding; none when it stays as it is."""
    coding = negotiated(accepted) if len(body) >= LEAST and accepted else ""
    match coding:
        case "zstd":
            return zstandard.ZstdCompressor(level=FAST).compress(body), coding
        case "gzip":
            return zlib.compress(body, level=FAST, wbits=zlib.MAX_WBITS | 16), coding
        case _:
            return body, ""


@lru_cache(100)
def negotiated(accepted: str) -> str:
    """The coding that the client likes best of those that there are; none when it accepts none."""
    qualities: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, parameter = (each.strip() for each in part.partition(";"))
        quality = parameter.removeprefix("q=") if parameter else "1"
        qualities[name] = float(quality) if quality.replace(".", "", 1).isdigit() else 0.0
    wanted = {each: qualities.get(each, qualities.get("*", 0.0)) for each in ENCODINGS}
    best = max(wanted, key=lambda each: wanted[each])
    return best if wanted[best] > 0 else ""
