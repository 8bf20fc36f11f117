"""The store is tested with an aggregate of its own."""

from __future__ import annotations

import pytest

from app.eventstore.codec import Codec
from tests.eventstore.job import JOB


@pytest.fixture
def codec() -> Codec:
    return Codec([JOB])
