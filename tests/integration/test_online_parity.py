"""The replay proof over the real flights: what is served equals what was trained on."""

from __future__ import annotations

import pytest

from gateline.features import replay_parity
from tests.support.flights import flights_online, write_tables


@pytest.fixture(scope="module")
def flight_tables(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("flights"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_thousand_requests_give_every_value_of_the_offline_join(flight_tables):
    report = replay_parity(flights_online(), flight_tables, requests=100_000, seed=7)
    assert [one.as_dict() for one in report.features if not one.agrees] == []
    assert (report.requests, len(report.features)) == (100_000, 25)
    assert report.repeated > 30_000
    assert report.overtaken > 600_000
