"""How far a generation is. It moves on from where it was: whoever is mistaken about that, or too late, moves nothing."""

from __future__ import annotations

ADVANCES = "projection = ${0} AND generation = ${1} AND checkpoint = ${2} AND status NOT IN ('rebuilding', 'paused')"
TAKE = f"SELECT parked FROM es.generations WHERE {ADVANCES.format(1, 2, 3)} FOR UPDATE SKIP LOCKED"
"""Keeps all others from it until the end of the transaction; no row when one of them keeps it, or has moved it."""

ON = "checkpoint = {0}, status = 'running', error = NULL, updated_at = now()"
MOVE = f"""
    UPDATE es.generations SET {ON.format("$4")}, parked = parked + $5
    WHERE {ADVANCES.format(1, 2, 3)} RETURNING live, parked > 0 AS any_parked
"""
"""To the checkpoint $4, with so many more places where events wait."""

LOOK = "SELECT checkpoint, live, parked > 0 AS any_parked FROM es.generations WHERE projection = $1 AND generation = $2"
FAIL = f"UPDATE es.generations SET status = 'failed', error = $4, updated_at = now() WHERE {ADVANCES.format(1, 2, 3)}"


def moved(first: int) -> str:
    """Takes a generation of which no events wait and moves it on, for a statement that does more then.

    From the parameter $first on: projection, generation, checkpoint and the next one. Returns what MOVE does; no row when TAKE
    would have none, or some events wait.
    """
    name, number, checkpoint, end = range(first, first + 4)
    return f"""
        UPDATE es.generations own SET {ON.format(f"${end}")} FROM (
            SELECT projection, generation FROM es.generations
            WHERE {ADVANCES.format(name, number, checkpoint)} AND parked = 0 FOR UPDATE SKIP LOCKED
        ) taken WHERE (own.projection, own.generation) = (taken.projection, taken.generation)
        RETURNING live, parked > 0 AS any_parked
    """
