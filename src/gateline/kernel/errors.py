"""One tree of errors. Each has a stable code, an HTTP status, and a message that says what, which, why and what next.

GatelineError
├── InvalidInput        invalid_input        400   the request or a file is wrong; all mistakes are named at once
│   └── ContractBroken  contract_broken      400   a table breaks the contract of its dataset; all broken rules are named
├── Unauthenticated     unauthenticated      401   no token, an unknown token or an expired one
├── Denied              denied               403   policy says no; the message names the rule
├── NotFound            not_found            404   no such record
├── Conflict            conflict             409   the record's state does not allow it
│   └── LockStale       lock_stale           409   gateline.lock differs from the recorded versions
├── TooLarge            too_large            413   a limit of `kernel.limits` was met
├── IntegrityFailure    integrity_failure    422   bytes differ from the digest recorded for them
├── RateLimited         rate_limited         429   try again later
├── ConfigurationError  configuration        500   a setting or the installation is wrong
├── PortInUse           port_in_use          500   another process listens there
├── StepFailed          step_failed          500   a pipeline step raised
├── Unavailable         unavailable          503   a part is still starting or is down
└── StorageFull         storage_full         507   the disk or quota is full; nothing half-written stays
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class GatelineError(Exception):
    """The root of every error Gateline raises on purpose.

    Args:
        message: What went wrong, with which thing, and why.
        next_step: What the reader can do about it; empty when nothing can be done.
        facts: Values for programs (JSON-able), shown in the problem document.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, next_step: str = "", facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.facts: dict[str, Any] = dict(facts or {})

    def __str__(self) -> str:
        """Return the message, followed by the next step when there is one."""
        return f"{self.message} {self.next_step}".strip()


class InvalidInput(GatelineError):
    """The request, declaration or file is wrong; the message names every mistake found."""

    code = "invalid_input"
    status = 400


class ContractBroken(InvalidInput):
    """A table breaks the contract in force for its dataset; the message names every broken rule with column, count and first rows."""

    code = "contract_broken"


class Unauthenticated(GatelineError):
    """No credentials, or credentials that are unknown, expired or revoked."""

    code = "unauthenticated"
    status = 401


class Denied(GatelineError):
    """Policy refuses; the message names the rule that decided."""

    code = "denied"
    status = 403


class NotFound(GatelineError):
    """No record of that name."""

    code = "not_found"
    status = 404


class Conflict(GatelineError):
    """The state of the record does not allow the change."""

    code = "conflict"
    status = 409


class LockStale(Conflict):
    """`gateline.lock` pins other versions than the project now uses."""

    code = "lock_stale"


class TooLarge(GatelineError):
    """A declared limit was met."""

    code = "too_large"
    status = 413


class IntegrityFailure(GatelineError):
    """Bytes differ from the digest recorded for them."""

    code = "integrity_failure"
    status = 422


class RateLimited(GatelineError):
    """Too many requests; try again later."""

    code = "rate_limited"
    status = 429


class ConfigurationError(GatelineError):
    """A setting or the installation is wrong."""

    code = "configuration"


class PortInUse(GatelineError):
    """Another process listens on the wanted port."""

    code = "port_in_use"


class StepFailed(GatelineError):
    """A pipeline step raised; the message names the step and the cause."""

    code = "step_failed"


class Pruned(StepFailed):
    """Raised by the objective of a search: the trial is not worth going on, which is an outcome of it. Elsewhere it fails its step."""

    code = "pruned"

    def __init__(
        self, message: str = "The trial is not worth going on.", *, next_step: str = "", facts: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, next_step=next_step, facts=facts)


class Unavailable(GatelineError):
    """A part is still starting, or is down."""

    code = "unavailable"
    status = 503


class StorageFull(GatelineError):
    """The disk or quota is full; nothing half-written stays."""

    code = "storage_full"
    status = 507


def all_errors() -> Iterator[type[GatelineError]]:
    """Yield every class of the tree, parents first."""
    pending: list[type[GatelineError]] = [GatelineError]
    while pending:
        current = pending.pop(0)
        yield current
        pending.extend(current.__subclasses__())


def error_for(code: str) -> type[GatelineError]:
    """Return the class with this stable code; the root class when the code is unknown."""
    return next((kind for kind in all_errors() if kind.code == code), GatelineError)
