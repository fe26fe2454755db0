"""A server that is killed again and again while schedules are due: no nominal time is lost, none is run twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from sqlalchemy import select

from gateline.kernel.clock import MINUTE, iso
from gateline.kernel.records import Records
from gateline.pipelines.schedule_store import ScheduleRow
from gateline.pipelines.store import PipelineRunRow

if TYPE_CHECKING:
    from pathlib import Path

    from gateline.ledger import Ledger

SERVER = """
import sys
from pathlib import Path
from gateline.kernel.clock import SimulatedClock
from gateline.kernel.records import Records
from gateline.ledger import Ledger, SigningKey
from gateline.access import Principal, PrincipalKind
from gateline.pipelines import CatchUp, Schedule, Schedules

home = Path(sys.argv[1])
records = Records(f"sqlite:///{home / 'only.db'}")
clock = SimulatedClock()
schedules = Schedules(Ledger(records, clock, SigningKey.load_or_create(home / "keys")))
who = Principal(name="somebody", kind=PrincipalKind.PERSON, roles=frozenset())
if not schedules.all():
    policy = dict(catch_up=CatchUp.ALL, catch_up_max=1000, time_parameter="as_of")
    schedules.set(who, Schedule(name="s", pipeline="train", cron="* * * * *", **policy))
clock.advance(seconds=int(sys.argv[2]))
print("up", flush=True)
while True:
    clock.advance(seconds=130)
    schedules.reconcile()
"""


def test_no_nominal_time_is_lost_or_doubled(sqlite_ledger: Ledger, home: Path) -> None:
    moments = random.Random(4)
    reached = 0
    for _ in range(8):
        server = subprocess.Popen([sys.executable, "-c", SERVER, str(home), str(reached)], stdout=subprocess.PIPE)
        assert server.stdout is not None
        assert server.stdout.readline() == b"up\n"
        time.sleep(moments.uniform(0.02, 0.3))
        server.kill()
        server.wait()
        server.stdout.close()
        with sqlite_ledger.records.read() as session:
            row = session.get_one(ScheduleRow, "s")
            reached = (row.done_until - sqlite_ledger.clock.now()) // 1_000_000
    with Records(f"sqlite:///{home / 'only.db'}").read() as session:
        found = sorted(given["as_of"] for given in session.scalars(select(PipelineRunRow.parameters)))
    start = sqlite_ledger.clock.now()
    assert len(found) > 20
    assert found == [iso(start + one * MINUTE) for one in range(1, len(found) + 1)]
    assert reached == len(found) * 60
    assert sqlite_ledger.verify().problems == ()
