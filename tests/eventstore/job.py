"""An aggregate that the service does not know: the store must carry it with nothing under app/ changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never
from uuid import UUID, uuid4

import msgspec

from app.domain.aggregate import Aggregate, Claim, Command, Event, Others, Upcaster
from app.errors import Refusal
from app.eventstore.append import Append

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TENANT = UUID("00000000-0000-4000-8000-000000000001")


class JobCreated(Event):
    """Somebody wants work to be done."""

    name: str


class JobStarted(Event):
    """A worker took the job. Version 1 had `worker`, a host name; version 2 `workerName`; version 3 has `attempt` too."""

    worker_name: str
    attempt: int


class JobCompleted(Event):
    """The work is done."""

    result: str | None = None


JobEvent = JobCreated | JobStarted | JobCompleted


class CreateJob(Command):
    """Ask for work."""

    name: str


class StartJob(Command):
    """Take the job."""

    worker_name: str


class CompleteJob(Command):
    """Say that the work is done."""

    result: str | None = None


JobCommand = CreateJob | StartJob | CompleteJob


class JobIsRunning(Refusal):
    """A job is created once, and started by one worker."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Work, and how far it has come."""

    name: str
    worker_name: str | None = None
    attempt: int = 0
    completed_at: datetime | None = None


def decide(command: JobCommand, job: Job | None, others: Others) -> Iterator[JobEvent]:
    match command:
        case CreateJob():
            if job is not None:
                raise JobIsRunning
            yield JobCreated(name=command.name)
        case StartJob():
            assert job is not None
            if job.worker_name:
                raise JobIsRunning
            yield JobStarted(worker_name=command.worker_name, attempt=job.attempt + 1)
        case CompleteJob():
            yield JobCompleted(result=command.result)
        case _:
            assert_never(command)


def evolve(job: Job | None, event: JobEvent, occurred_at: datetime) -> Job:
    if isinstance(event, JobCreated):
        return Job(name=event.name)
    assert job is not None
    match event:
        case JobStarted():
            return msgspec.structs.replace(job, worker_name=event.worker_name, attempt=event.attempt, completed_at=None)
        case JobCompleted():
            return msgspec.structs.replace(job, completed_at=occurred_at)
        case _:
            assert_never(event)


def claims(job: Job | None) -> frozenset[Claim]:
    """A name belongs to one job until that is completed."""
    return frozenset() if job is None or job.completed_at else frozenset({Claim("jobName", job.name)})


def _worker_became_worker_name(data: dict[str, Any]) -> dict[str, Any]:
    return {"workerName": data["worker"]}


def _attempts_are_counted(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"attempt": 1}


UPCASTERS: dict[str, Sequence[Upcaster]] = {"JobStarted": (_worker_became_worker_name, _attempts_are_counted)}

JOB = Aggregate[Job, JobCommand, JobEvent](
    stream_type="Job",
    state=Job,
    events=(JobCreated, JobStarted, JobCompleted),
    decide=decide,
    evolve=evolve,
    claims=claims,
    upcasters=UPCASTERS,
)


def job_append(*events: JobEvent, stream_id: UUID | None = None, after: int = 0, **more: Any) -> Append:
    """An append of events after a version, each event a minute after the one before it."""
    given: dict[str, Any] = {
        "stream_id": stream_id or uuid4(),
        "stream_type": "Job",
        "tenant_id": TENANT,
        "expected_version": after,
        "events": events,
        "event_ids": tuple(uuid4() for _ in events),
        "occurred_at": NOON + timedelta(minutes=after),
        "metadata": {"actor": "test"},
    }
    return Append(**(given | more))
