"""What was read and what was written: so that work that follows from records is done when they change, and not again and again."""

from __future__ import annotations

import itertools
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import Compiled, Table, TextClause, event
from sqlalchemy.sql import visitors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Engine

ANY = "*"
"""Stands for every table: a statement in plain text may have written any of them."""


class Changes:
    """Remembers in which order this process committed changes of which tables; what other processes write it does not see.

    Args:
        engine: Whose statements are looked at.
    """

    def __init__(self, engine: Engine) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._newest = dict[str, int]()
        self._number = 0
        self._reads: ContextVar[set[str] | None] = ContextVar("gateline_tables_read", default=None)
        self._writes: ContextVar[set[str] | None] = ContextVar("gateline_tables_written", default=None)
        event.listen(engine, "before_cursor_execute", self._look)

    @property
    def number(self) -> int:
        """How many changes were committed so far."""
        return self._number

    def touched(self, tables: Iterable[str], since: int) -> bool:
        """Return whether one of the tables was changed after `number` was `since`."""
        newest = self._newest
        return newest.get(ANY, 0) > since or any(newest.get(table, 0) > since for table in tables)

    @contextmanager
    def reading(self, into: set[str]) -> Iterator[None]:
        """Add the tables that this thread reads meanwhile to a set."""
        token = self._reads.set(into)
        try:
            yield
        finally:
            self._reads.reset(token)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Count the tables that this thread writes meanwhile as changed, unless an error ends it: it goes around a whole transaction."""
        written = set[str]()
        token = self._writes.set(written)
        try:
            yield
        finally:
            self._writes.reset(token)
        if written:
            with self._lock:
                number = next(self._numbers)
                self._newest |= dict.fromkeys(written, number)
                self._number = number

    def _look(self, _connection: Any, _cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool) -> None:
        """Note the tables of a statement before it is executed."""
        reads, writes = self._reads.get(), self._writes.get()
        compiled = getattr(context, "compiled", None)
        if compiled is None or (reads is None and writes is None):
            return
        tables = _tables_of(compiled)
        if reads is not None:
            reads |= tables
        if writes is None:
            return
        if context.isinsert or context.isupdate or context.isdelete:
            writes.add(compiled.statement.table.name)
        elif isinstance(compiled.statement, TextClause) and not compiled.statement.text.startswith("SELECT"):
            writes.add(ANY)


_tables: WeakKeyDictionary[Compiled, frozenset[str]] = WeakKeyDictionary()


def _tables_of(compiled: Compiled) -> frozenset[str]:
    """Return the names of the tables in a statement; found once, for it is compiled once."""
    found = _tables.get(compiled)
    if found is None:
        elements = visitors.iterate(compiled.statement) if compiled.statement is not None else ()
        found = _tables[compiled] = frozenset(one.name for one in elements if isinstance(one, Table))
    return found
