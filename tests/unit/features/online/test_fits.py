"""A fit is a record: made once of named data and a window, never changed, refused when it was, and applied alike online and offline."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import polars as pl
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateline.data import frame_digest
from gateline.features import Impute, OrdinalEncode, fit, fit_from_dict, split_fit_id
from gateline.features.records import fits as store
from gateline.kernel.clock import parse_iso
from gateline.kernel.errors import IntegrityFailure, InvalidInput, NotFound, TooLarge
from gateline.lineage import Node
from tests.unit.features.online.conftest import FITTED, ORDERED

ELEVEN, NOON = parse_iso("2013-01-01T11:00:00Z"), parse_iso("2013-01-01T12:00:00Z")
LATER = f"{ORDERED}4,b,2013-01-01T11:50:00Z,100\n"


@pytest.fixture
def fitted_shop(online_shop):
    online_shop.version = online_shop.feature_sets.register("developer", FITTED)
    return online_shop


@pytest.fixture
def fitted_shop_on_both(shop_on_both):
    shop_on_both.version = shop_on_both.feature_sets.register("developer", FITTED)
    return shop_on_both


def rows_of(shop):
    return shop.feature_sets.compute(shop.version)


def tamper(shop, **values):
    """Change stored fits behind the back of the database's guard."""
    with shop.ledger.records.engine.begin() as connection:
        sqlite = connection.dialect.name == "sqlite"
        connection.execute(text("DROP TRIGGER feature_fit_no_update" + ("" if sqlite else " ON feature_fit")))
        for name, value in values.items():
            connection.execute(text(f"UPDATE feature_fit SET {name} = :value"), {"value": value})


def test_a_fit_says_what_it_learned_from_what(fitted_shop_on_both):
    shop = fitted_shop_on_both
    found = shop.fits.fit("trainer", "shopping")
    assert (found.id, found.feature_set, found.number, found.created_by) == ("shopping@2/fit@1", "shopping@2", 1, "trainer")
    assert found.dataset_versions == shop.version.dataset_versions
    assert found.dataset_digests == shop.version.dataset_digests
    assert found.fitted == fit(FITTED.fitted, rows_of(shop))
    assert (found.start, found.end, found.window, found.fitted.rows) == (None, None, "all rows", 3)
    assert found.created_at == shop.clock.now()
    assert shop.fits.get(found.id) == shop.fits.verify(found.id) == shop.fits.latest("shopping", 2) == found
    (entry,) = shop.ledger.entries(kind="feature_set.fitted")
    assert (entry.actor, entry.subject, entry.payload["digest"], entry.payload["rows"]) == ("trainer", found.id, found.digest, 3)
    assert "categories" not in json.dumps(entry.payload)  # values of the data stay out of the ledger


def test_only_rows_of_the_window_are_learned_from(fitted_shop):
    rows = rows_of(fitted_shop)
    early = fitted_shop.fits.fit("trainer", "shopping", end=ELEVEN)
    assert early.fitted == fit(FITTED.fitted, rows[:1])
    assert early.fitted.rows_digest == frame_digest(rows[:1].select("last_amount", "amount", "shop", "share"))
    late = fitted_shop.fits.fit("trainer", "shopping", start=ELEVEN, end=NOON)
    assert late.fitted == fit(FITTED.fitted, rows[1:])
    assert late.window == "from 2013-01-01T11:00:00Z until 2013-01-01T12:00:00Z"
    at = parse_iso("2013-01-01T11:30:00Z")  # the time of both late orders: the window is closed at its begin and open at its end
    assert fitted_shop.fits.fit("trainer", "shopping", start=at, end=at + 1).fitted == late.fitted
    with pytest.raises(InvalidInput, match="lie from 2013-01-01T10:40:00.000000Z to 2013-01-01T11:30:00.000000Z"):
        fitted_shop.fits.fit("trainer", "shopping", start=ELEVEN, end=at)
    assert [one.number for one in fitted_shop.fits.list("shopping")] == [1, 2, 3]
    assert fitted_shop.fits.latest("shopping").number == 3


def test_the_same_fit_again_is_the_fit_that_was_made(fitted_shop_on_both):
    shop = fitted_shop_on_both
    first = shop.fits.fit("trainer", "shopping", end=NOON)
    size = shop.ledger.size()
    shop.clock.advance(60)
    assert shop.fits.fit("another", "shopping", end=NOON) == first
    assert shop.ledger.size() == size
    other = shop.fits.fit("trainer", "shopping")
    assert other.fitted == first.fitted
    assert other.digest != first.digest  # it answers another question


def test_writers_at_once_make_one_record(fitted_shop_on_both):
    shop, found, started = fitted_shop_on_both, [], threading.Barrier(4)

    def work(end):
        started.wait()
        found.append(shop.fits.fit("trainer", "shopping", end=end))

    threads = [threading.Thread(target=work, args=(end,)) for end in (None, None, NOON, NOON)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert {one.id for one in found} == {"shopping@2/fit@1", "shopping@2/fit@2"}
    assert len(shop.ledger.entries(kind="feature_set.fitted")) == 2


def test_it_may_be_fitted_to_other_versions_of_the_data(fitted_shop):
    fitted_shop.add("orders", LATER)
    pinned = fitted_shop.fits.fit("trainer", "shopping")
    newer = fitted_shop.fits.fit("trainer", "shopping", dataset_versions={"orders": 2})
    assert (pinned.dataset_versions["orders"], newer.dataset_versions["orders"]) == ("orders@1", "orders@2")
    assert (pinned.fitted.rows, newer.fitted.rows) == (3, 4)
    assert newer.fitted.parameters[2] == {"low": 4.75, "high": 38.5}
    fitted_shop.add("orders", ORDERED.replace(",6\n", ",6.5\n"))
    with pytest.raises(InvalidInput, match="would have other types"):
        fitted_shop.fits.fit("trainer", "shopping", dataset_versions={"orders": 3})
    with pytest.raises(InvalidInput, match="does not read planes"):
        fitted_shop.fits.fit("trainer", "shopping", dataset_versions={"planes": 1})
    with pytest.raises(NotFound, match="orders@9"):
        fitted_shop.fits.fit("trainer", "shopping", dataset_versions={"orders": 9})


def test_it_stands_between_its_data_and_what_is_made_with_it(fitted_shop):
    found = fitted_shop.fits.fit("trainer", "shopping")
    graph = fitted_shop.lineage.ancestors(Node(kind="feature_fit", id=found.id))
    edges = {(one.source.id, one.relation) for one in graph.edges if one.target.id == found.id}
    assert edges == {("shopping@2", "fitted"), ("orders@1", "read"), ("payments@1", "read"), ("shops@1", "read")}


def test_what_cannot_be_fitted_is_refused_in_words(fitted_shop, monkeypatch):
    fits = fitted_shop.fits
    with pytest.raises(InvalidInput, match="shopping@1 declares no transforms"):
        fits.fit("trainer", "shopping", 1)
    with pytest.raises(InvalidInput, match="which is not before its end"):
        fits.fit("trainer", "shopping", start=NOON, end=NOON)
    with pytest.raises(NotFound, match="no feature set version 'none'"):
        fits.fit("trainer", "none")
    with pytest.raises(NotFound, match="no fit of shopping@2"):
        fits.latest("shopping")
    with pytest.raises(NotFound, match="no fit 'shopping@2/fit@7'"):
        fits.get("shopping@2/fit@7")
    nothing = fitted_shop.feature_sets.register("developer", replace(FITTED, fitted=(Impute("last_amount"),)))
    alone = parse_iso("2013-01-01T10:00:00Z")
    fitted_shop.add("orders", "id,shop,asked,amount\n1,z,2013-01-01T10:00:00Z,1\n")
    with pytest.raises(InvalidInput, match="no values to learn from in 1 rows"):
        fits.fit("trainer", "shopping", nothing.version, start=alone, dataset_versions={"orders": 2})
    monkeypatch.setattr("gateline.features.fits.FIT_BYTES_MAX", 100)
    with pytest.raises(TooLarge, match="at most 100 may be kept"):
        fits.fit("trainer", "shopping", 2)
    assert fits.list("shopping", 2) == []
    assert fitted_shop.ledger.entries(kind="feature_set.fitted") == []


@pytest.mark.parametrize("wrong", ["", "shopping", "shopping@2", "shopping@2/fit@", "shopping@2/fit@-1", "a/b@2/fit@1", "shopping@2/fit@1x",
                                   "shopping@2/fit@99999999999999999999", "shopping@٢/fit@1", "shopping@2/fit@1\n"])  # fmt: skip
def test_what_is_no_id_of_a_fit_is_refused(wrong):
    with pytest.raises(InvalidInput, match="is not the id of a fit"):
        split_fit_id(wrong)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("parameters", '[{"value":1.0},{"mean":0.0,"scale":1.0},{"high":1.0,"low":0.0},{"categories":["a"]},{"value":2.0}]'),
        ("transforms", "[]"),
        ("types", "{}"),
        ("rows_digest", "0" * 64),
        ("rows", 4),
        ("start", 5),
        ("end", 5),
        ("digest", "0" * 64),
        ("dataset_digests", '{"orders":"other"}'),
        ("feature_set_digest", "other"),
    ],
)
def test_a_record_that_was_changed_is_refused_wherever_it_is_read(fitted_shop, column, value):
    found = fitted_shop.fits.fit("trainer", "shopping")
    tamper(fitted_shop, **{column: value})
    reads = (
        lambda: fitted_shop.fits.get(found.id),
        lambda: fitted_shop.fits.list("shopping"),
        lambda: fitted_shop.fits.latest("shopping"),
        lambda: fitted_shop.fits.fit("trainer", "shopping"),
    )
    for read in reads:
        with pytest.raises(IntegrityFailure, match="The record of fit shopping@2/fit@1 was changed") as caught:
            read()
        assert "gateline ledger verify" in caught.value.next_step


def test_a_record_that_was_changed_with_its_digest_disagrees_with_the_ledger(fitted_shop):
    found = fitted_shop.fits.fit("trainer", "shopping")
    parameters = ({"value": 1.0}, *found.fitted.parameters[1:])
    forged = replace(found.fitted, parameters=parameters)
    tamper(
        fitted_shop,
        parameters=json.dumps(parameters),
        digest=store_digest(found, forged),
    )
    assert fitted_shop.fits.get(found.id).fitted == forged
    with pytest.raises(IntegrityFailure, match="differs from the ledger's entry in digest"):
        fitted_shop.fits.verify(found.id)


def store_digest(found, forged):
    from gateline.features.records.seals import fit_digest, inputs_digest

    return fit_digest(inputs_digest(found.feature_set_digest, found.dataset_digests, found.start, found.end), forged)


def test_the_database_refuses_to_change_a_fit(fitted_shop_on_both):
    fitted_shop_on_both.fits.fit("trainer", "shopping")
    for statement in ("UPDATE feature_fit SET created_by = 'x'", "DELETE FROM feature_fit"):
        with pytest.raises(DBAPIError, match="only ever added"), fitted_shop_on_both.ledger.records.engine.begin() as connection:
            connection.execute(text(statement))


def test_a_fit_survives_json(fitted_shop):
    found = fitted_shop.fits.fit("trainer", "shopping", end=NOON)
    sent = json.loads(json.dumps(found.as_dict()))
    assert fit_from_dict(sent) == found
    with pytest.raises(IntegrityFailure):
        fit_from_dict(sent | {"rows": 4})
    with pytest.raises(IntegrityFailure, match="it cannot be read"):
        fit_from_dict({name: value for name, value in sent.items() if name != "parameters"})


def test_online_values_are_those_of_the_offline_fit_bit_for_bit(fitted_shop):
    found = fitted_shop.fits.fit("trainer", "shopping", end=NOON)
    at = parse_iso("2013-01-01T11:30:00Z")
    entities = [
        {"shop": "a", "amount": 6}, {"shop": "b", "amount": 18}, {"shop": "zzz", "amount": -(10**9)}, {"shop": None, "amount": None},
    ]  # fmt: skip
    plain = fitted_shop.online.read_set(fitted_shop.version, entities, at)
    answer = fitted_shop.online.read_set(fitted_shop.version, entities, at, fitted=found)
    assert answer["fitted"] == found.id
    assert "fitted" not in plain
    dtypes = {"int64": pl.Int64(), "float64": pl.Float64(), "string": pl.String()}
    schema = {one.name: dtypes[one.dtype] for one in fitted_shop.version.features}
    offline = found.apply(pl.DataFrame([row["features"] for row in plain["rows"]], schema=schema), "shopping@2")
    assert [row["features"] for row in answer["rows"]] == offline.to_dicts()
    for place, entity in enumerate(entities):  # and one request alone gives the same bits
        (row,) = fitted_shop.online.read_set(fitted_shop.version, [entity], at, fitted=found)["rows"]
        assert row["features"] == answer["rows"][place]["features"]
    shops = [row["features"]["shop"] for row in answer["rows"]]
    assert shops == [0, 1, -1, None]  # a, b, one that was not seen, none
    low, high = found.fitted.parameters[2]["low"], found.fitted.parameters[2]["high"]
    assert [row["features"]["amount"] for row in answer["rows"]] == [6.0, high, low, None]
    assert fitted_shop.online.read_set(fitted_shop.version, [], at, fitted=found)["rows"] == []


def test_the_training_table_holds_what_is_read_online(fitted_shop):
    found = fitted_shop.fits.fit("trainer", "shopping")
    table = found.apply(rows_of(fitted_shop), "shopping@2")
    orders = [("a", "10:40", 6), ("b", "11:30", 18), ("c", "11:30", 1)]
    for row, (shop, time, amount) in zip(table.select(FITTED.features).to_dicts(), orders, strict=True):
        at = parse_iso(f"2013-01-01T{time}:00Z")
        if at < parse_iso("2013-01-01T11:10:00Z"):
            continue  # the store has forgotten what was known then
        (read,) = fitted_shop.online.read_set(fitted_shop.version, [{"shop": shop, "amount": amount}], at, fitted=found)["rows"]
        assert read["features"] == row


def test_nan_and_infinity_online_count_as_missing(fitted_shop):
    declared = replace(FITTED, name="priced", columns=("price",), fitted=(Impute("price", strategy="constant", value=7.5),), views=())
    spine = replace(declared.spine, columns={**declared.spine.columns, "price": "CAST(amount AS DOUBLE)"})
    version = fitted_shop.feature_sets.register("developer", replace(declared, spine=spine))
    found = fitted_shop.fits.fit("trainer", "priced")
    entities = [{"price": float("nan")}, {"price": float("inf")}, {"price": 10**400}, {"price": None}, {"price": 2.0}]
    assert [row["features"]["price"] for row in fitted_shop.online.read_set(version, entities)["rows"]] == [None, None, None, None, 2.0]
    answer = fitted_shop.online.read_set(version, entities, fitted=found)
    assert [row["features"]["price"] for row in answer["rows"]] == [7.5, 7.5, 7.5, 7.5, 2.0]


def test_a_fit_of_another_version_is_refused(fitted_shop):
    found = fitted_shop.fits.fit("trainer", "shopping")
    other = fitted_shop.feature_sets.register("developer", replace(FITTED, fitted=(OrdinalEncode("shop"),)))
    message = "shopping@2/fit@1 is a fit of shopping@2, and these are features of shopping@3"
    with pytest.raises(InvalidInput, match=message):
        fitted_shop.online.read_set(other, [{"shop": "a", "amount": 6}], fitted=found)
    with pytest.raises(InvalidInput, match=message):
        found.apply(rows_of(fitted_shop), other.id)
    with pytest.raises(InvalidInput, match="feature 'amount' is not in the rows"):
        found.apply(rows_of(fitted_shop).drop("amount"), "shopping@2")


def test_a_fit_whose_transaction_failed_leaves_nothing_and_can_be_made_again(fitted_shop, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(fitted_shop.lineage, "link", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            fitted_shop.fits.fit("trainer", "shopping")
    assert fitted_shop.fits.list("shopping") == []
    assert fitted_shop.ledger.entries(kind="feature_set.fitted") == []
    assert fitted_shop.fits.fit("trainer", "shopping").number == 1


def test_another_process_may_take_the_number(fitted_shop, monkeypatch):
    fitted_shop.fits.fit("trainer", "shopping")
    numbers = iter([0, 1])  # the first look is outdated
    monkeypatch.setattr(store, "newest_number", lambda *_: next(numbers))
    assert fitted_shop.fits.fit("trainer", "shopping", end=NOON).number == 2
