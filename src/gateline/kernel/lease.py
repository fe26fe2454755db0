"""A lease in the records database: of several processes on one database, one leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from gateline.kernel.clock import SECOND
from gateline.kernel.store import LeaseRow

if TYPE_CHECKING:
    from gateline.kernel.clock import Clock
    from gateline.kernel.records import Records


class Lease:
    """The right to do something alone, which has to be renewed.

    Args:
        records: The database that all candidates share.
        clock: Tells when a lease has run out; candidates' clocks should agree within a few seconds.
        name: What the lease is for.
        owner: Who this candidate is, unique among processes.
        seconds: How long a lease lasts without renewal.
    """

    def __init__(self, records: Records, clock: Clock, *, name: str, owner: str, seconds: int = 15) -> None:
        self._records = records
        self._clock = clock
        self._name = name
        self._owner = owner
        self._seconds = seconds
        self._renew_at = 0

    @property
    def name(self) -> str:
        """What the lease is for."""
        return self._name

    def hold(self) -> bool:
        """Take or renew the lease; return whether this process leads now. Asks the database only when a third of the time has passed."""
        now = self._clock.now()
        if now < self._renew_at and self._renew_at - now <= self._seconds * SECOND:
            return True
        try:
            with self._records.write() as session:
                row = session.get(LeaseRow, self._name, with_for_update=True)
                if row is not None and row.owner != self._owner and row.until > now:
                    return False
                until = now + self._seconds * SECOND
                if row is None:
                    session.add(LeaseRow(name=self._name, owner=self._owner, until=until))
                else:
                    row.owner, row.until = self._owner, until
        except IntegrityError:
            return False
        self._renew_at = now + self._seconds * SECOND // 3
        return True

    def release(self) -> None:
        """Let another process lead at once."""
        with self._records.write() as session:
            row = session.get(LeaseRow, self._name, with_for_update=True)
            if row is not None and row.owner == self._owner:
                session.delete(row)
        self._renew_at = 0
