"""The replay on a small shop: it agrees, and it tells when the online path is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateline.features import replay_parity
from gateline.features.online.latest import LatestState
from gateline.features.online.windows import WindowState
from gateline.kernel.errors import InvalidInput
from tests.unit.features.online.conftest import FITTED, PAYMENTS, SHOPPING, SPENDING, variant


def replayed(shop, feature_set=SHOPPING, **options):
    return replay_parity(feature_set, shop.feature_sets.tables(shop.version), **options)


def test_every_value_agrees_and_the_features_on_demand_too(shop):
    report = replayed(shop, seed=3)
    assert report.agrees
    assert {one.feature for one in report.features} == set(SHOPPING.features) - {"amount"}
    assert (report.requests, report.events >= 6, report.as_dict()["agrees"]) == (3, True, True)
    assert replayed(shop, requests=2, seed=1).requests == 2


def test_what_a_model_sees_is_compared_when_the_set_has_been_fitted(shop, monkeypatch):
    shop.version = shop.feature_sets.register("developer", FITTED)
    fitted = shop.fits.fit("developer", "shopping", shop.version.version).fitted
    report = replayed(shop, FITTED, seed=3, fitted=fitted)
    assert report.agrees
    assert {one.feature for one in report.features} == set(FITTED.features) - {"amount", "shop"}
    monkeypatch.setattr(LatestState, "read", lambda self, blob, t: self.empty())
    (plain,) = (one for one in replayed(shop, FITTED, seed=3).features if one.feature == "last_amount")
    (seen,) = (one for one in replayed(shop, FITTED, seed=3, fitted=fitted).features if one.feature == "last_amount")
    assert (plain.missing, plain.mismatch) == (2, 0)
    assert seen.missing == 0  # the median stands where a value is missing, so that a model sees another value, and no gap
    assert seen.mismatch > 0


def test_the_same_seed_gives_the_same_report(shop):
    assert replayed(shop, seed=5) == replayed(shop, seed=5)


def test_a_window_that_forgets_events_is_found(shop, monkeypatch):
    merge = WindowState.merge
    monkeypatch.setattr(WindowState, "merge", lambda self, blob, events, *rest: merge(self, blob, [], *rest))
    report = replayed(shop)
    wrong = {one.feature: one for one in report.features if not one.agrees}
    assert "spending_sum_amount_4h" in wrong
    assert wrong["spending_count_4h"].mismatch > 0
    assert wrong["spending_count_4h"].examples[0]["offline"] > wrong["spending_count_4h"].examples[0]["online"]


def test_values_that_are_missing_or_extra_online_are_found(shop, monkeypatch):
    read = LatestState.read
    monkeypatch.setattr(LatestState, "read", lambda self, blob, t: self.empty())
    assert {one.missing for one in replayed(shop).features if one.feature in {"last_amount", "size"}} == {2}
    monkeypatch.setattr(LatestState, "read", lambda self, blob, t: read(self, blob, t)._replace(values=(1,)))
    assert any(one.mismatch for one in replayed(shop).features)


def test_a_source_without_event_id_cannot_be_replayed(shop):
    with pytest.raises(InvalidInput, match="event_id"):
        replayed(shop, variant(SPENDING, source=replace(PAYMENTS, name="nameless", event_id=())))
