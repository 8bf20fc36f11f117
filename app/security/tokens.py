"""Bearer tokens: JSON Web Tokens (RFC 7519), signed and verified."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

import msgspec
from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning

from app.errors import HindsightError
from app.security.keys import Keys

ALGORITHMS = ["Ed25519", "EdDSA", "RS256"]
"""By which a token may be signed. Never `none`, and none with a secret that both sides would have to share."""

EVERY_TENANT = "*"
"""In place of a tenant's id."""


class InvalidToken(HindsightError):
    """The token is none, is not valid now, or is not for this service."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says of who bears it."""

    subject: str
    """A user's id, or the name of a person or program that is no user."""
    tenant_id: UUID | None = None
    """The one tenant whose data may be seen; of a user, their own if absent."""
    all_tenants: bool = False
    permissions: frozenset[str] | None = None
    """None: those of the user's roles."""
    expires_at: datetime

    @property
    def user_id(self) -> UUID | None:
        """The user, if the subject is one."""
        try:
            return UUID(self.subject)
        except ValueError:
            return None


class Tokens:
    """Signs and verifies the tokens of one issuer for one audience."""

    def __init__(self, keys: Keys, *, issuer: str, audience: str, leeway: int) -> None:
        """`leeway` is how many seconds the clocks of issuer and verifier may differ."""
        self.leeway = leeway
        self._keys = keys
        self._issuer = issuer
        self._audience = audience

    @classmethod
    async def open(cls, source: str, *, issuer: str, audience: str, leeway: int) -> Self:
        """With the keys of that file or URL. Raises ConfigurationError when they cannot be read."""
        return cls(await Keys.open(source), issuer=issuer, audience=audience, leeway=leeway)

    @property
    def can_sign(self) -> bool:
        """Whether there is a key to sign with."""
        return self._keys.can_sign

    def sign(self, claims: Claims) -> str:
        """A token that says so. Raises ConfigurationError when no key here can sign."""
        key = self._keys.signing()
        algorithm = str(key.alg or ("RS256" if key.key_type == "RSA" else "Ed25519"))
        tenant = EVERY_TENANT if claims.all_tenants else claims.tenant_id and str(claims.tenant_id)
        payload = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": claims.subject,
            "iat": int(datetime.now(UTC).timestamp()),
            "exp": int(claims.expires_at.timestamp()),
            "tenant": tenant,
            "permissions": None if claims.permissions is None else sorted(claims.permissions),
        }
        header = {"alg": algorithm, "kid": key.kid or key.thumbprint()}
        return jwt.encode(header, {name: value for name, value in payload.items() if value is not None}, key, ALGORITHMS)

    async def verify(self, token: str) -> Claims:
        """What the token says. Raises InvalidToken, whose message is for the log and not for who sent it."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SecurityWarning)  # the older name of Ed25519, which issuers still use
                header = jws.extract_compact(token.encode()).headers()
                payload = jwt.decode(token, await self._keys.named(header.get("kid")), ALGORITHMS).claims
            self._registry().validate(payload)
            return _claims(payload)
        except (JoseError, msgspec.ValidationError, ValueError, TypeError, OverflowError) as error:
            raise InvalidToken(f"{type(error).__name__}: {error}") from error

    def _registry(self) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            leeway=self.leeway,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            sub={"essential": True},
            exp={"essential": True},
        )


def _claims(payload: dict[str, Any]) -> Claims:
    """Raises ValueError for a token of ours that does not say whose data it is for."""
    tenant, permissions = payload.get("tenant"), payload.get("permissions")
    claims = Claims(
        subject=payload["sub"],
        tenant_id=None if tenant in (None, EVERY_TENANT) else msgspec.convert(tenant, UUID),
        all_tenants=tenant == EVERY_TENANT,
        permissions=None if permissions is None else msgspec.convert(permissions, frozenset[str]),
        expires_at=datetime.fromtimestamp(payload["exp"], UTC),
    )
    if claims.user_id is None and (permissions is None or tenant is None):
        raise ValueError("a token for nobody who is a user names its tenant and its permissions")
    return claims
