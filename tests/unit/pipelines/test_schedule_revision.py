"""Retraining that was declared before triggers existed goes on as one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from sqlalchemy import text

import gateline
from gateline.kernel.clock import DAY
from gateline.ledger import Ledger, SigningKey
from gateline.pipelines import Triggers

if TYPE_CHECKING:
    from gateline.kernel.clock import SimulatedClock
    from gateline.kernel.records import Records


def test_a_declared_retraining_becomes_a_trigger(unmigrated_records: Records, clock: SimulatedClock, home: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(gateline.__path__[0]) / "migrations"))
    with unmigrated_records.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0008")
        columns = "endpoint, pipeline, alert_kinds, cool_down_seconds, parameters, last_event_time, last_run_id"
        values = f"""'delay', 'train', '["drift"]', 86400, '{{"rounds":9}}', {20 * DAY}, ''"""
        connection.execute(text(f"INSERT INTO retraining ({columns}) VALUES ({values.replace(':', chr(92) + ':')})"))
    unmigrated_records.migrate()
    triggers = Triggers(Ledger(unmigrated_records, clock, SigningKey.load_or_create(home / "keys")))
    found = triggers.get("retraining-delay")
    assert (found["subject"], found["alert_kinds"], found["parameters"], found["parameter"]) == ("delay", ["drift"], {"rounds": 9}, "as_of")
    triggers.on_alert({"alert_id": "a", "endpoint": "delay", "kind": "drift", "window_end": 20 * DAY + 1, "sentence": ""})
    assert "the cool-down is 1.0 days" in triggers.get("retraining-delay")["last_decision"]
