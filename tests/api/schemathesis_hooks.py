"""What Schemathesis has to know of this service: its scalars, ids of things that are there, and how a masked failure looks."""

from __future__ import annotations

import os
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.graphql import nodes

IDS = os.environ["HINDSIGHT_TEST_IDS"].split()
"""Of a user, a role and so on: with invented ones a query finds nothing."""

LAST_POSITION = 2**53 - 1

schemathesis.graphql.scalar("Position", (st.integers(0, 20) | st.integers(0, LAST_POSITION)).map(nodes.Int))
schemathesis.graphql.scalar("ID", (st.sampled_from(IDS) | st.uuids().map(str) | st.text()).map(nodes.String))


@schemathesis.check
def nothing_unforeseen(
    _context: schemathesis.CheckContext, response: schemathesis.Response, _case: schemathesis.Case[Any]
) -> None:
    """An answer that holds data says 200 even if one of its fields failed for a reason that nobody foresaw."""
    assert "INTERNAL_SERVER_ERROR" not in response.text
