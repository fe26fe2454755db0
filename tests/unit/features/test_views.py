from __future__ import annotations

from dataclasses import replace

import pytest

from gateline.features import Aggregate, Aggregation, Entity, LatestView, LookupView, OnDemandView, WindowView
from gateline.features.declarations.plan import Latest, Lookup, Window
from gateline.features.declarations.spans import seconds_of, span_of
from gateline.features.declarations.views import entity_of, view_fingerprint
from gateline.features.rules import plan_mistakes, set_mistakes
from gateline.kernel.errors import InvalidInput
from tests.unit.features.conftest import ORDERS, PAYMENTS, SET, SHOPS

LATEST = LatestView(name="last", source=PAYMENTS, entity="shop", features=("delay",), max_age="2d", offset="1h")
WINDOW = WindowView(
    name="delays", source=PAYMENTS, entity="shop", windows=("1h", "7d"), hop="5m", offset=60,
    aggregations=(Aggregation("mean", "delay"), Aggregation("count"), Aggregation("last_k", "delay", k=2, feature="recent")),
)  # fmt: skip
LOOKUP = LookupView(name="shop", source=SHOPS, entity="shop", features={"shop_size": "size"})


@pytest.mark.parametrize("seconds", [0, 1, 59, 60, 90, 3600, 86_400, 90_000, 604_800])
def test_a_span_is_read_back_as_it_is_written(seconds):
    assert seconds_of(span_of(seconds)) == seconds


@pytest.mark.parametrize("span", ["", "7", "-1h", "1.5h", "h", "1 h", "1y", True, 1.5, None])
def test_what_is_no_span_is_refused(span):
    with pytest.raises(InvalidInput, match="is no span of time"):
        seconds_of(span)


def test_an_entity_is_named_by_its_keys():
    assert entity_of("shop") == Entity(name="shop", keys=("shop",))
    assert entity_of(("shop", "till")) == Entity(name="shop_till", keys=("shop", "till"))
    till = Entity(name="till", keys=("shop", "till"), description="A till of a shop.")
    assert entity_of(till) is till


def test_each_view_compiles_to_its_parts():
    assert LATEST.parts == (
        Latest(name="last", source=PAYMENTS, key="shop", features={"delay": "delay"}, max_age_seconds=172_800, offset_seconds=3600),
    )
    assert LOOKUP.parts == (Lookup(name="shop", source=SHOPS, key="shop", features={"shop_size": "size"}),)
    first = Window(
        name="delays_mean_delay_1h", source=PAYMENTS, key="shop", column="delay", aggregate=Aggregate.MEAN, window_seconds=3600,
        offset_seconds=60, hop_seconds=300,
    )  # fmt: skip
    assert WINDOW.parts[0] == first
    counted = replace(first, name="delays_count_7d", column="known", aggregate="count", window_seconds=604_800)
    assert WINDOW.parts[3] == counted


def test_window_features_are_named_after_what_they_are():
    assert [part.name for part in WINDOW.parts] == [
        "delays_mean_delay_1h", "delays_mean_delay_7d", "delays_count_1h", "delays_count_7d",
        "recent_1h_1", "recent_1h_2", "recent_7d_1", "recent_7d_2",
    ]  # fmt: skip
    assert [part.position for part in WINDOW.parts[4:]] == [1, 2, 1, 2]
    one = replace(WINDOW, windows=("90m",), aggregations=(Aggregation("mean", "delay", feature="mean_delay"), Aggregation("max", "delay")))
    assert [part.name for part in one.parts] == ["mean_delay", "delays_max_delay_90m"]


def test_two_aggregations_that_come_to_the_same_name_are_refused():
    twice = replace(WINDOW, windows=("24h", "1d"))
    assert "feature 'delays_mean_delay_1d' is declared 2 times" in set_mistakes(replace(SET, views=(twice,)))


def test_equal_declarations_are_equal_however_they_are_written():
    assert replace(LATEST, max_age=172_800, entity=Entity(name="shop"), features={"delay": "delay"}, offset="60m") == LATEST
    assert replace(LATEST, tags=("b", "a")) == replace(LATEST, tags=("a", "b"))
    assert replace(WINDOW, windows=[3600, "1w"], aggregations=list(WINDOW.aggregations), hop=300) == WINDOW
    assert OnDemandView(name="o", expressions={"b": "1", "a": "2"}).on_demand[0].name == "a"


@pytest.mark.parametrize("view", [LATEST, WINDOW, LOOKUP])
def test_what_only_describes_a_view_does_not_change_its_fingerprint(view):
    told = replace(view, owner="payments team", description="How late a shop pays.", tags=("money",))
    described = replace(told, entity=Entity(name="shop", description="Where one buys."))
    assert view_fingerprint(view) == view_fingerprint(told) == view_fingerprint(described)
    assert told.as_dict() != view.as_dict()


OTHER = replace(PAYMENTS, where="delay > 0")


@pytest.mark.parametrize(
    ("view", "change"),
    [
        (LATEST, {"name": "newest"}),
        (LATEST, {"source": OTHER}),
        (LATEST, {"source": replace(PAYMENTS, event_id=("paid",))}),
        (LATEST, {"source": replace(PAYMENTS, lateness_seconds=60)}),
        (LATEST, {"source": replace(PAYMENTS, tie_breaker=("delay",))}),
        (LATEST, {"source": replace(PAYMENTS, known_ahead=True)}),
        (LATEST, {"source": replace(PAYMENTS, available_at="paid")}),
        (LATEST, {"source": replace(PAYMENTS, dataset="other")}),
        (LATEST, {"entity": ("shop", "paid")}),
        (LATEST, {"features": {"late": "delay"}}),
        (LATEST, {"max_age": "3d"}),
        (LATEST, {"offset": 0}),
        (LOOKUP, {"name": "store"}),
        (LOOKUP, {"source": ORDERS}),
        (LOOKUP, {"entity": "size"}),
        (LOOKUP, {"features": ("size",)}),
        (WINDOW, {"name": "waits"}),
        (WINDOW, {"source": OTHER}),
        (WINDOW, {"entity": ("shop", "paid")}),
        (WINDOW, {"windows": ("1h", "6d")}),
        (WINDOW, {"windows": ("1h",)}),
        (WINDOW, {"hop": 0}),
        (WINDOW, {"offset": 0}),
        (WINDOW, {"aggregations": (Aggregation("sum", "delay"),)}),
        (WINDOW, {"aggregations": (Aggregation("mean", "delay", feature="renamed"),)}),
        (WINDOW, {"aggregations": (*WINDOW.aggregations[:2], Aggregation("last_k", "delay", k=3, feature="recent"))}),
        (WINDOW, {"aggregations": (Aggregation("ratio", "delay", denominator="delay"),)}),
    ],
)
def test_everything_else_changes_the_fingerprint(view, change):
    assert view_fingerprint(replace(view, **change)) != view_fingerprint(view)


def test_a_named_window_view_has_its_name_in_the_fingerprint_even_where_no_feature_shows_it():
    named = replace(WINDOW, aggregations=(Aggregation("mean", "delay", feature="mean_delay"),))
    assert view_fingerprint(replace(named, name="other")) != view_fingerprint(named)


def test_descriptions_change_the_digest_of_a_set_but_not_the_fingerprint_of_its_plan():
    told = replace(SET, description="told", views=(replace(SET.views[0], owner="payments team"), *SET.views[1:]))
    assert told.digest != SET.digest
    assert told.plan.fingerprint == SET.plan.fingerprint
    assert replace(SET, columns=("amount",)).plan.fingerprint != SET.plan.fingerprint


def test_a_set_lists_its_features_in_order():
    assert SET.features == ("mean_delay", "last_delay", "size", "amount", "shop", "amount_per_size")
    assert SET.datasets == ("orders", "payments", "shops")
    assert SET.entities == ("id",)


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (replace(WINDOW, windows=()), "view 'delays' needs at least one window and one aggregation"),
        (replace(WINDOW, aggregations=()), "view 'delays' needs at least one window and one aggregation"),
        (replace(WINDOW, aggregations=(Aggregation("mean"),)), "view 'delays': mean needs a column; only count can do without"),
        (replace(WINDOW, aggregations=(Aggregation("median", "delay"),)), "'median' is no aggregate"),
        (replace(WINDOW, aggregations=(Aggregation("mean", "delay", k=2),)), "last_k takes k from 1 to 100, and nothing else has a k"),
        (replace(WINDOW, aggregations=(Aggregation("last_k", "delay"),)), "last_k takes k from 1 to 100"),
        (replace(WINDOW, aggregations=(Aggregation("last_k", "delay", k=101),)), "last_k takes k from 1 to 100"),
        (replace(WINDOW, aggregations=(Aggregation("ratio", "delay"),)), "a ratio has a denominator"),
        (replace(WINDOW, aggregations=(Aggregation("sum", "delay", denominator="delay"),)), "a ratio has a denominator"),
        (replace(WINDOW, aggregations=(Aggregation("ratio", "delay", denominator="dleay"),)), "(did you mean 'delay'?)"),
        (replace(WINDOW, hop="2h"), "the hop must be positive and at most the window (3600 s), not 7200 s"),
        (replace(WINDOW, hop=-1), "the hop must be positive"),
        (replace(WINDOW, windows=(0,)), "the window must be positive, not 0 s"),
        (replace(LATEST, max_age=0), "max_age_seconds must be positive"),
        (replace(LATEST, offset=-1), "would look into the future"),
        (replace(LATEST, name="no name"), "no name"),
        (replace(LATEST, features=()), "part 'last' has no features"),
        (
            replace(LATEST, source=replace(PAYMENTS, event_id=("number",))),
            "source 'payments', event_id: 'number' is not among the source's columns",
        ),
        (replace(LATEST, source=replace(PAYMENTS, lateness_seconds=-1)), "lateness_seconds must not be negative"),
        (OnDemandView(name="nothing"), "view 'nothing' has neither expressions nor a function"),
    ],
)
def test_a_mistake_in_a_view_is_told_in_words(view, words):
    assert words in "; ".join(set_mistakes(replace(SET, views=(view,))))


def test_views_of_one_name_are_refused():
    assert "2 views are called 'last'" in set_mistakes(replace(SET, views=(LATEST, replace(LATEST, features={"again": "delay"}))))
    assert set_mistakes(SET) == plan_mistakes(SET.plan) == []
