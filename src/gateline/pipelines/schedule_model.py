"""What starts runs by itself, and what holds them up: schedules, triggers, limits, backfills, approvals."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class CatchUp(StrEnum):
    """What becomes of nominal times that passed while nobody looked: none, the last of them, or all up to a number (the newest)."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


class TriggerSource(StrEnum):
    """What a trigger listens to: alerts of an endpoint, or new versions of a dataset."""

    ALERT = "alert"
    DATASET = "dataset"


class BackfillState(StrEnum):
    """Where a backfill stands."""

    RUNNING = "running"
    CANCELLED = "cancelled"
    DONE = "done"


class ApprovalState(StrEnum):
    """What was answered to the question that a step waits with."""

    ASKED = "asked"
    APPROVED = "approved"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"
    WITHDRAWN = "withdrawn"
    """The run ended, or failed elsewhere, before anybody answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A run that is asked for.

    Attributes:
        request_key: Makes the request idempotent; empty for none.
        parent: The backfill it belongs to, or empty.
        schedule: The schedule it belongs to, or empty.
        on_behalf_of: Who declared what asks for it; empty when somebody asks themselves.
    """

    pipeline: str
    parameters: dict[str, Any]
    reason: str = ""
    request_key: str = ""
    project: str = ""
    priority: int = 0
    parent: str = ""
    schedule: str = ""
    on_behalf_of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a pipeline runs by the clock.

    Attributes:
        cron: Minute, hour, day of month, month, day of week.
        zone: IANA time zone that the expression is read in.
        catch_up: What becomes of times that passed while no server ran.
        catch_up_max: Of `all`: how many at most, the newest.
        time_parameter: The parameter that gets the nominal time as ISO text; empty for none.
    """

    name: str
    pipeline: str
    cron: str
    zone: str = "UTC"
    catch_up: CatchUp = CatchUp.LAST
    catch_up_max: int = 1
    time_parameter: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    project: str = ""
    priority: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What else starts a pipeline.

    Attributes:
        subject: The endpoint or the dataset.
        alert_kinds: Of alerts: the kinds that start it, such as drift and performance.
        cool_down_seconds: Least time between two starts: event time for alerts, the server's for datasets.
        parameter: The parameter that gets the end of the alert's window as ISO text, or the id of the dataset version; empty for none.
    """

    name: str
    pipeline: str
    source: TriggerSource
    subject: str
    alert_kinds: tuple[str, ...] = ()
    cool_down_seconds: int = 0
    parameter: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    project: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self) | {"alert_kinds": list(self.alert_kinds)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of a pipeline may happen.

    Attributes:
        concurrent_max: Most runs under way at once; those that wait for approval count. None for no limit.
        runs_max: Most runs that begin within `period_seconds`; None for no limit.
        cool_down_seconds: Least time between the begins of two runs.
        deduplicate_seconds: A request with parameters that another had this short before is that other run, unless it failed.
    """

    pipeline: str
    concurrent_max: int | None = None
    runs_max: int | None = None
    period_seconds: int = 3600
    cool_down_seconds: int = 0
    deduplicate_seconds: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What counts against the limits now.

    Attributes:
        under_way: Runs that have begun, or that a runner is drawing.
        begun: Those that began within the period, or are being drawn.
        last_begin: When the newest began (UTC microseconds), or None.
    """

    under_way: int
    begun: int
    last_begin: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """Runs over a range of nominal times or data versions, a few at a time.

    Attributes:
        parameter: The parameter that gets the item.
        items: ISO texts of nominal times, or ids of dataset versions, in the order in which they are run.
        counts: Number of its runs in each state.
        left: Items that were not asked for yet.
    """

    id: str
    pipeline: str
    parameter: str
    items: tuple[str, ...]
    parallel_max: int
    state: BackfillState
    created_by: str
    created_at: int
    ended_at: int | None
    left: int
    counts: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepApproval:
    """The question that a step waits with, and its answer.

    Attributes:
        question: What the step's option `approval` says; when it is the name of a role, only its holders may answer.
        until: When it counts as rejected, or None.
        comment: Why it was answered so.
    """

    run_id: str
    node: str
    question: str
    asked_at: int
    until: int | None
    state: ApprovalState
    decided_by: str
    decided_at: int | None
    comment: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)
