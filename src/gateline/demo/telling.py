"""How the demo tells its story: a heading for each chapter, a line for each event; live progress on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

_WIDTH = 140
_MARKS = {"ok": ("✓", "green"), "no": ("✗", "red"), "warn": ("!", "yellow"), "info": ("·", "dim"), "event": ("→", "cyan")}


@dataclass(slots=True, kw_only=True)
class ChapterTime:
    """How long a chapter took.

    Attributes:
        number: Its number, from 1.
        title: Its title.
        seconds: Wall time.
    """

    number: int
    title: str
    seconds: float = 0.0


@dataclass(slots=True)
class Bar:
    """The live progress of a chapter; does nothing where there is no terminal."""

    progress: Progress | None = None
    task: int = 0

    def advance(self, amount: int, text: str = "") -> None:
        """Move on by `amount`, optionally with new words."""
        if self.progress is not None:
            self.progress.update(self.progress.task_ids[self.task], advance=amount)
            if text:
                self.progress.update(self.progress.task_ids[self.task], description=escape(text))


@dataclass(slots=True, kw_only=True)
class Teller:
    """Writes the account.

    Attributes:
        console: Where it goes.
        chapters: The chapters told so far, with their times.
    """

    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    chapters: list[ChapterTime] = field(default_factory=list)

    @contextmanager
    def chapter(self, number: int, title: str) -> Iterator[ChapterTime]:
        """Write a heading, and afterwards how long the chapter took."""
        told = ChapterTime(number=number, title=title)
        self.chapters.append(told)
        self.console.print()
        self.console.print(Text(f"{number}. {title}", style="bold"))
        started = time.monotonic()
        yield told
        told.seconds = time.monotonic() - started
        self.console.print(Text(f"   chapter {number} took {told.seconds:.1f} s", style="dim"))

    def say(self, text: str, mark: str = "info") -> None:
        """Write one line. Marks: ok, no, warn, info, event; the word carries the meaning, the colour only repeats it."""
        sign, style = _MARKS[mark]
        self.console.print(Text.assemble("  ", (sign, style), " ", text))

    def more(self, text: str) -> None:
        """Write a line that belongs to the one before."""
        self.console.print(Text(f"      {text}", style="dim"))

    @contextmanager
    def progress(self, total: int, text: str) -> Iterator[Bar]:
        """Show live progress while the block runs, on a terminal."""
        if not self.console.is_terminal:
            yield Bar()
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True, refresh_per_second=4) as progress:
            progress.add_task(escape(text), total=total)
            yield Bar(progress)
