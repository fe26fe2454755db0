from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gateline.features import (
    Aggregation,
    Calendar,
    CalendarView,
    Entity,
    Impute,
    KnownAt,
    LatestView,
    OnDemandView,
    OrdinalEncode,
    QuantileClip,
    Standardise,
    WindowView,
    set_from_dict,
)
from gateline.kernel.errors import InvalidInput
from tests.unit.features.conftest import PAYMENTS, SET

FULL = replace(
    SET,
    spine=(SPINE := replace(SET.spine, where="amount > 0", tie_breaker=("id",), known_ahead=True, event_id=("id",), lateness_seconds=60)),
    label=replace(SET.label, source=SPINE),
    known_at=(KnownAt(dataset="orders", columns=("late",), sql="settled"),),
    description="Is a payment going to be late?",
    fitted=(
        Impute("amount", strategy="constant", value=3), QuantileClip("amount", low=0.05), Standardise("amount"), OrdinalEncode("shop"),
        Impute("size"), Impute("shop", strategy="constant", value="a"),
    ),
    views=(
        *SET.views,
        WindowView(
            name="many", source=PAYMENTS, entity=Entity(name="till", keys=("shop",), description="Where one pays."), windows=("1h", "1d"),
            aggregations=(Aggregation("ratio", "delay", denominator="delay"), Aggregation("last_k", "delay", k=3), Aggregation("count")),
            hop="5m", offset=60, owner="payments team", tags=("money", "late"), description="Delays by shop.",
        ),
        LatestView(name="late", source=PAYMENTS, entity=("shop",), features={"newest": "delay"}, max_age="1d", offset="1h"),
        CalendarView(name="local", calendar=Calendar(zone="Asia/Riyadh", country="SA", weekend=("friday", "saturday")), features=("hour",)),
        OnDemandView(name="geometry", function=lambda amount, size: {"b": amount / size, "a": amount > 3}, owner="risk team"),
    ),
)  # fmt: skip


@pytest.mark.parametrize("feature_set", [SET, FULL, replace(SET, label=None, views=())])
def test_a_definition_survives_json_and_keeps_its_digest_and_order(feature_set):
    again = set_from_dict(json.loads(json.dumps(feature_set.as_dict(), sort_keys=True)))
    assert again == feature_set
    assert again.digest == feature_set.digest
    assert again.features == feature_set.features
    assert again.plan.fingerprint == feature_set.plan.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"time": "day"},
        {"entity": ("id", "shop")},
        {"columns": ("amount",)},
        {"views": ()},
        {"views": SET.views[:2]},
        {"label": None},
        {"unit": ""},
        {"slices": ()},
        {"categorical": ()},
        {"known_at": (KnownAt(dataset="orders", columns=("late",), sql="settled"),)},
        {"description": "x"},
        {"fitted": (Standardise("amount"),)},
    ],
)
def test_every_field_is_part_of_the_digest(change):
    assert replace(SET, **change).digest != SET.digest


def test_a_broken_definition_is_refused_with_every_mistake():
    content = json.loads(json.dumps(FULL.as_dict()))
    content["views"][0]["windows"] = ["600"]
    content["views"][0]["aggregations"][0]["colour"] = "red"
    content["views"][1]["colour"] = "red"
    content["views"][2]["source"] = "nowhere"
    content["views"][3]["function"] = "amount"
    content["views"][4]["entity"]["keys"] = 3
    content["views"][4]["hop"] = True
    content["views"][5]["max_age"] = 1.5
    content["sources"].append(dict(content["sources"][1]))
    del content["time"]
    with pytest.raises(InvalidInput) as error:
        set_from_dict(content)
    for words in (
        "view 'delays': 'windows' has the wrong type",
        "view 'delays', aggregation: unknown field 'colour'",
        "view 'last': unknown field 'colour'",
        "view 'shop': there is no source 'nowhere' in 'sources'",
        "view 'shares': unknown field 'function'",
        "view 'many', entity: 'keys' has the wrong type",
        "view 'many': 'hop' has the wrong type",
        "view 'late': 'max_age' has the wrong type",
        "source 'payments' is listed more than once",
        "'time' is missing",
    ):
        assert words in error.value.message, words


def _everywhere(value, path=()):
    """Yield the path of every object and leaf in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _everywhere(inner, (*path, key))


def _replaced(content, path, value):
    content = json.loads(json.dumps(content))
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return content


@pytest.mark.parametrize("path", [path for path in _everywhere(FULL.as_dict()) if path], ids=str)
def test_a_value_of_another_type_anywhere_is_refused_and_never_crashes(path):
    wrong = 1.5 if path == ("label",) else [[1.5]]
    with pytest.raises(InvalidInput):
        set_from_dict(_replaced(FULL.as_dict(), path, wrong))


@pytest.mark.parametrize("path", [path for path in _everywhere(FULL.as_dict()) if path and isinstance(path[-1], str)], ids=str)
def test_an_unknown_field_beside_any_other_is_refused(path):
    if path[-2:-1] and path[-2] in {"columns", "features", "expressions", "day_parts"}:
        return  # a mapping of names, where any name may stand
    with pytest.raises(InvalidInput, match="unknown field 'colour'|there is no|must be|has the wrong type"):
        set_from_dict(_replaced(FULL.as_dict(), (*path[:-1], "colour"), "red"))


@pytest.mark.parametrize(
    "content",
    [
        {}, {"sources": 3}, {"sources": [1]}, {"views": [[]]}, {"views": [{"kind": []}]}, {"views": [{"kind": "spell"}]}, {"label": 1},
        {"name": 5, "spine": []}, {"sources": [{"name": []}], "spine": {}}, {"views": [{"kind": "window", "aggregations": 3}]},
    ],
)  # fmt: skip
def test_nonsense_is_refused_and_never_crashes(content):
    with pytest.raises(InvalidInput):
        set_from_dict(content)


def test_a_source_that_nothing_uses_is_refused():
    content = SET.as_dict()
    content["sources"].append({**content["sources"][1], "name": "spare"})
    with pytest.raises(InvalidInput, match="source 'spare' is listed, but never used"):
        set_from_dict(content)
