"""A database of revision 0006 becomes one that keeps fits, and the feature sets that are in it can be fitted."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, text

import gateline
from gateline.kernel.clock import SimulatedClock
from gateline.kernel.records import Records
from gateline.ledger import Ledger, SigningKey
from tests.unit.features.online.conftest import FITTED, opened


def migrate(records: Records, to: str, *, down: bool = False) -> None:
    config = Config()
    config.set_main_option("script_location", f"{gateline.__path__[0]}/migrations")
    with records.engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, to)


@pytest.fixture
def shop(unmigrated_records, home):
    """A shop whose set was registered before there were fits."""
    migrate(unmigrated_records, "0006")
    ledger = Ledger(unmigrated_records, SimulatedClock(), SigningKey.load_or_create(home / "keys"))
    found = opened(ledger, home)
    found.version = found.feature_sets.register("developer", FITTED)
    assert "feature_fit" not in inspect(unmigrated_records.engine).get_table_names()
    yield found
    found.store.close()


def test_what_was_registered_before_is_kept_and_can_be_fitted(shop):
    before, size = shop.feature_sets.list(), shop.ledger.size()
    shop.ledger.records.migrate()
    assert shop.feature_sets.list() == before
    assert shop.ledger.size() == size
    assert shop.fits.list("shopping") == []
    found = shop.fits.fit("trainer", "shopping")
    assert shop.fits.verify(found.id) == found
    assert shop.ledger.verify().sound


def test_the_way_back_removes_fits_and_nothing_else(shop):
    migrate(shop.ledger.records, "0007")
    shop.fits.fit("trainer", "shopping")
    migrate(shop.ledger.records, "0006", down=True)
    assert "feature_fit" not in inspect(shop.ledger.records.engine).get_table_names()
    assert len(shop.feature_sets.list()) == 2
    migrate(shop.ledger.records, "0007")
    with shop.ledger.records.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM feature_fit")).scalar_one() == 0
