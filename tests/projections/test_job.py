"""An aggregate that the service does not know gets a read model by a table and one line."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from app.domain.aggregate import Stream
from app.eventstore.batcher import Batcher
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.moment import Moment
from app.eventstore.store import EventStore
from projections import lookup
from projections.engine import ProjectionEngine
from projections.projection import TIME, AggregateProjection, required, stream_columns, twin
from tests.eventstore.job import JOB, NOON, TENANT, Job, JobCompleted, JobCreated, JobStarted, job_append

pytestmark = pytest.mark.anyio

TABLE = sa.Table(
    "jobs",
    sa.MetaData(schema="read"),
    *stream_columns(),
    required("name", sa.Text()),
    sa.Column("worker_name", sa.Text),
    required("attempt", sa.Integer()),
    sa.Column("completed_at", TIME),
)
JOBS = AggregateProjection("jobs", JOB, Job, TABLE, twin(TABLE))


@pytest.fixture
def codec() -> Codec:
    return Codec([JOB])


async def test_its_rows_are_its_streams_now_and_then(store: EventStore, database: Database, batcher: Batcher) -> None:
    engine, job_id = ProjectionEngine(store, (JOBS,)), uuid4()
    await engine.prepare()
    started = JobStarted(worker_name="ox", attempt=1)
    await batcher.append(job_append(JobCreated(name="sweep"), stream_id=job_id))
    await batcher.append(job_append(started, stream_id=job_id, after=1))
    await batcher.append(job_append(JobCompleted(), stream_id=job_id, after=2))
    await engine.catch_up()

    created = Job(name="sweep")
    running = Job(name="sweep", worker_name="ox", attempt=1)
    done = Job(name="sweep", worker_name="ox", attempt=1, completed_at=NOON + timedelta(minutes=2))
    for version, state in enumerate((created, running, done), start=1):
        stream = Stream(id=job_id, type="Job", tenant_id=TENANT, version=version, position=version, state=state)
        assert await lookup.by_id(database, JOBS, job_id, Moment(position=version)) == stream
        assert await lookup.by_id(database, JOBS, job_id, Moment(timestamp=NOON + timedelta(minutes=version - 1))) == stream
    assert await lookup.by_id(database, JOBS, job_id, None) == stream


def test_a_table_that_does_not_fit_the_state_is_refused() -> None:
    table = sa.Table("jobs", sa.MetaData(), sa.Column("name", sa.Text), *stream_columns())
    with pytest.raises(TypeError, match="jobs must have the columns id, tenant_id, version, position"):
        AggregateProjection("jobs", JOB, Job, table)
    without_name = sa.Table("jobs", sa.MetaData(), *stream_columns(), required("attempt", sa.Integer()))
    with pytest.raises(TypeError, match=r"jobs must have the columns .*, position, name, worker_name, attempt, completed_at"):
        AggregateProjection("jobs", JOB, Job, without_name)
