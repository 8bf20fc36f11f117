"""The settings: `HINDSIGHT_*` environment variables, also from a file `.env`, read at the edge and passed on as one value."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import ConfigurationError

PREFIX = "HINDSIGHT_"


def _postgresql(url: str) -> str:
    """Only the scheme is looked at: what a URL may hold besides is asyncpg's affair."""
    if not url.startswith(("postgresql://", "postgres://", "postgresql+asyncpg://")):
        raise ValueError("must begin with postgresql://")
    return url


class Settings(BaseSettings):
    """What can be set. A field's docstring is its text in the README."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",  # .env files hold other programs' variables too
        frozen=True,
        use_attribute_docstrings=True,
    )

    database_url: Annotated[str, AfterValidator(_postgresql)] | None = Field(default=None, repr=False)
    """The PostgreSQL (15 or newer) to use, `postgresql://user:password@host/database`. Without it one starts by itself."""

    data_dir: Path = Path(".hindsight")
    """Where the PostgreSQL that starts by itself keeps its data, and this machine the key of the tokens that it signs."""

    authentication: Literal["required", "off"] = "required"
    """`off` lets everybody who reaches the server do everything, and is allowed on loopback addresses only."""

    jwt_keys: str | None = None
    """The keys of tokens: file or URL of a JSON Web Key Set, Ed25519 or RSA, read again as it changes. One that is private signs
    too. Without the setting a key of its own is made in the data directory."""

    jwt_issuer: str = "hindsight"
    """The `iss` of tokens: who signs them."""

    jwt_audience: str = "hindsight"
    """The `aud` of tokens: this service."""

    jwt_leeway: int = Field(default=10, ge=0, le=300)
    """Seconds that the clocks of this machine and of the one that signs may differ."""

    login_attempts: int = Field(default=5, ge=1)
    """Failed logins in a row after which an account is locked."""

    lock_minutes: int = Field(default=5, ge=1)
    """Minutes for which it is locked."""

    login_failure_ms: int = Field(default=500, ge=0)
    """Milliseconds that a failed login takes at least, so that the time does not tell why it failed."""

    access_minutes: int = Field(default=10, ge=1)
    """Minutes for which the access token of a login is good."""

    session_days: int = Field(default=30, ge=1)
    """Days after a login for which refresh tokens are good."""

    row_security: bool = False
    """Whether PostgreSQL's row-level security stands behind tokens for one tenant, as a second wall."""

    audit_reads: bool = False
    """Whether it is recorded who looks at whose history, or at the data of more than one tenant."""

    pool_size: int = Field(default=10, ge=4, le=1000)
    """Database connections that one process holds at most."""

    deadline_ms: int = Field(default=10_000, ge=100)
    """Milliseconds after which a request, or a statement that the database does not answer, is given up."""

    wait_ms: int = Field(default=2_000, ge=0)
    """Milliseconds that a read waits at most for the position that its request names."""

    cost_limit: int = Field(default=10_000, ge=100)
    """What an operation may cost: 1 for each object that it may be answered with, lists multiplied by the size of their page."""

    rate_limit: int = Field(default=200, ge=0)
    """Requests a second that one caller may send in the long run, ten times as many at once; 0 is no limit."""

    redis_url: str | None = Field(default=None, repr=False)
    """A Redis that all processes share, `redis://host:6379/0`. Without it each counts a caller's requests, and keeps
    states, for itself."""

    persisted_documents: Literal["off", "auto", "trusted"] = "auto"
    """Whether clients may send the SHA-256 of a document in its place: `auto` for those that they sent once with it, `trusted`
    for those of `HINDSIGHT_TRUSTED_DOCUMENTS`, and then no others are carried out at all."""

    trusted_documents: Path | None = None
    """A file of documents: a JSON object of texts by their SHA-256, as Relay's compiler writes it."""

    cors_origins: str | None = None
    """Origins whose pages may send requests from a browser, such as `https://app.example.com`, separated by commas."""

    introspection: bool = True
    """Whether everybody with a token may ask for the schema. Otherwise that takes the permission `schema.read`, and errors
    suggest no names."""

    connections: int = Field(default=4_000, ge=10)
    """Connections that one process holds at once. For a new one beyond that, those are closed that have been idle the longest."""

    subscriptions: int = Field(default=2_000, ge=1)
    """Subscriptions, and WebSockets, that one process serves at once."""

    operations_per_websocket: int = Field(default=50, ge=1)
    """Subscriptions and other operations that may be under way at once over one WebSocket."""

    slow_client_ms: int = Field(default=10_000, ge=100)
    """Milliseconds in which a subscriber must take what is sent; who does not is cut off, and may resume."""

    run_projections: bool = True
    """Whether `hindsight serve` keeps the read tables current itself; otherwise run `hindsight projections run` beside it."""

    projection_batch: int = Field(default=1_000, ge=1, le=10_000)
    """Events that a projection takes in one transaction; up to 50 times as many while it is far behind."""

    cached_states: int = Field(default=10_000, ge=0)
    """Folded states that a process keeps in memory, those that were used last; a user's takes about 1 kB."""

    snapshot_every: int = Field(default=100, ge=1)
    """Events of a stream after which its state is kept again as a snapshot, so that it need not be folded from its beginning."""

    snapshots_kept: int = Field(default=5, ge=1, le=1000)
    """Snapshots of one stream that are kept, the newest ones; those older than 90 days go too, save the newest."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least serious log lines that are written, to standard error."""


def load_settings(**overrides: Any) -> Settings:
    """The settings of this environment; `overrides` by field name come from the command line and win.

    Raises ConfigurationError with the variable's name when a value is wrong. The value is not shown: it may be a secret.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        wrong = (f"{PREFIX}{str(each['loc'][0]).upper()}: {each['msg'].removeprefix('Value error, ')}" for each in error.errors())
        raise ConfigurationError("; ".join(wrong)) from None
