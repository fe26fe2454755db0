"""Who is asking MLflow, what is refused, and the ledger entry of both.

The principal travels in a context variable: the ASGI gate sets it, and it reaches MLflow's handlers and stores because their threads
copy the context. Our own projection sets the internal one in-process; nothing that comes over HTTP can.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from gateline.ledger import Ledger

_log = structlog.get_logger(__name__)

INTERNAL_NAME = "gateline"
RESERVED_PREFIX = "gateline."
USER_TAG = "mlflow.user"
PROTECTED_ALIASES = frozenset({"production", "champion", "staging"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Acting:
    """Who acts on MLflow now.

    Attributes:
        name: The principal's name.
        internal: Whether it is our own projection, for which the gates stand open.
        request: Method and path, or "in process".
    """

    name: str
    internal: bool
    request: str


_INTERNAL = Acting(name=INTERNAL_NAME, internal=True, request="in process")
_acting: ContextVar[Acting | None] = ContextVar("gateline_mlflow_acting", default=None)


@contextmanager
def acting_as(who: Acting) -> Iterator[None]:
    """Let `who` act within the block."""
    token = _acting.set(who)
    try:
        yield
    finally:
        _acting.reset(token)


def internally() -> AbstractContextManager[None]:
    """Return a context in which our own projection acts."""
    return acting_as(_INTERNAL)


def refusal(message: str) -> Exception:
    """Return the error that MLflow's handlers turn into 403 PERMISSION_DENIED with this message."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

    error: Exception = MlflowException(message, error_code=PERMISSION_DENIED)
    return error


class Guard:
    """Refuses and records.

    Args:
        ledger: Where each refusal and each change of MLflow's registry is written.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @property
    def acting(self) -> Acting:
        """Who acts now.

        Raises:
            MlflowException: nobody is known to act; MLflow was reached around the gate.
        """
        found = _acting.get()
        if found is None:
            raise refusal("MLflow was called without a principal. Use the address /mlflow of the Gateline server.")
        return found

    def refuse(self, what: str, *, subject: str, reason: str, next_step: str) -> NoReturn:
        """Write 'mlflow.request.refused' to the ledger, then raise what MLflow answers as 403."""
        self.note_refusal(self.acting, what, subject=subject, reason=reason)
        raise refusal(f"{what} is refused: {reason} {next_step}")

    def note_refusal(self, who: Acting, what: str, *, subject: str, reason: str) -> None:
        """Write 'mlflow.request.refused' to the ledger."""
        with self._ledger.transaction(who.name) as tx:
            tx.record("mlflow.request.refused", subject, {"request": who.request, "what": what, "reason": reason})
        _log.warning("mlflow.refused", principal=who.name, request=who.request, what=what, subject=subject)

    def changed(self, what: str, *, subject: str, facts: dict[str, Any] | None = None) -> None:
        """Write 'mlflow.registry.changed' to the ledger, after MLflow made the change."""
        who = self.acting
        with self._ledger.transaction(who.name) as tx:
            tx.record("mlflow.registry.changed", subject, {"request": who.request, "what": what, **(facts or {})})

    def closed(self, run_id: str, *, last_heard_of: str) -> None:
        """Write 'run.closed' to the ledger, after a run whose client died was closed in MLflow."""
        with self._ledger.transaction(INTERNAL_NAME) as tx:
            tx.record("run.closed", run_id, {"status": "KILLED", "last_heard_of": last_heard_of})
        _log.warning("mlflow.run_closed", run_id=run_id, last_heard_of=last_heard_of)

    def changed_once(self, what: str, *, subject: str, facts: dict[str, Any]) -> bool:
        """Write 'mlflow.registry.changed' unless the ledger has such an entry of the subject; return whether it was written."""
        if any(one.payload["what"] == what for one in self._ledger.entries(subject=subject, kind="mlflow.registry.changed", limit=1_000)):
            return False
        self.changed(what, subject=subject, facts=facts)
        return True

    def only_internal(self, what: str, *, subject: str, reason: str, next_step: str) -> None:
        """Refuse unless our own projection acts."""
        if not self.acting.internal:
            self.refuse(what, subject=subject, reason=reason, next_step=next_step)

    def alias(self, action: str, name: str, alias: str) -> None:
        """Refuse to move an alias that a rollout moves. Upper and lower case are one."""
        if alias.casefold() in PROTECTED_ALIASES:
            self.only_internal(
                f"{action} alias @{alias} of model '{name}'",
                subject=name,
                reason=f"@{alias} follows the release that Gateline's rollout has carried out.",
                next_step="Register the version, have it approved (gateline model approve), then release it (gateline rollout start).",
            )

    def tags(self, keys: Iterable[str], *, subject: str) -> None:
        """Refuse tags under `gateline.`, in any case: they carry evidence."""
        if self.acting.internal:
            return
        for key in keys:
            if key.strip().casefold().startswith(RESERVED_PREFIX):
                self.refuse(
                    f"Tag '{key}' on {subject}",
                    subject=subject,
                    reason=f"tags that begin with '{RESERVED_PREFIX}' are written by Gateline alone.",
                    next_step="Choose another tag name.",
                )

    def user_tag(self, tags: Iterable[Any], *, subject: str) -> None:
        """Refuse to name another author than the principal that asks."""
        who = self.acting
        for tag in tags:
            if tag.key == USER_TAG and tag.value != who.name and not who.internal:
                self.refuse(
                    f"Tag '{USER_TAG}' = '{tag.value}' on {subject}",
                    subject=subject,
                    reason="the author of a run is the principal whose token created it.",
                    next_step="Leave this tag to the server.",
                )
