"""Marks travel from the columns of a contract to every feature made of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateline.access import Access, Principal, PrincipalKind, Role
from gateline.data import Contracts, Datasets, ObjectStore, Tables
from gateline.features import FeatureMarks, FeatureSets, Marks, OnDemandView
from gateline.features.marks.model import mark_features
from gateline.features.marks.store import APPEND_ONLY_TABLES
from gateline.kernel.errors import Conflict, InvalidInput, NotFound
from gateline.lineage import Lineage
from tests.support.contracts import column, contract_of

PERSONAL = {"kind": "location", "note": "where somebody shops"}


def orders(**changes):
    columns = {
        "id": column("id", personal={"kind": "identifier"}),
        "shop": column("shop", "string", personal=PERSONAL),
        "amount": column("amount", "float64", protected=True),
    }
    return contract_of(*(columns | changes).values(), dataset="orders", extra_columns=True, compatibility="none")


def payments(*marked: str):
    names = ("shop", "delay", "paid", "known")
    columns = [column(name, "string", required=False, **({"personal": PERSONAL} if name in marked else {})) for name in names]
    return contract_of(*columns, dataset="payments", extra_columns=True)


def told(found):
    return {one.feature: [f"{mark.dataset}.{mark.column}" for mark in one.personal] for one in found}


def test_a_feature_derives_from_the_columns_of_its_value_and_of_its_key(feature_set):
    shops = contract_of(column("shop", "string"), column("size", "float64"), dataset="shops")
    found = mark_features(feature_set, {"orders": orders(), "payments": payments("delay"), "shops": shops})
    assert told(found) == {
        "mean_delay": ["orders.shop", "payments.delay"],
        "last_delay": ["orders.shop", "payments.delay"],
        "size": ["orders.shop"],
        "amount": [],
        "shop": ["orders.shop"],
        "amount_per_size": ["orders.shop"],
    }
    protected = {one.feature: [mark.column for mark in one.protected] for one in found}
    assert protected["amount"] == protected["amount_per_size"] == ["amount"]
    assert protected["mean_delay"] == []
    assert [one.undeclared for one in found] == [()] * 6
    assert all(one.is_personal == bool(one.personal) for one in found)
    assert [FeatureMarks.from_dict(one.as_dict()) for one in found] == list(found)


def test_the_condition_of_a_source_is_part_of_what_a_feature_derives_from(feature_set):
    window = replace(feature_set.views[0], source=replace(feature_set.views[0].source, where="paid IS NOT NULL"))
    found = mark_features(replace(feature_set, views=(window, *feature_set.views[1:])), {"payments": payments("paid")})
    assert told(found)["mean_delay"] == ["payments.paid"]
    assert told(found)["last_delay"] == []


def test_a_dataset_without_a_contract_is_unknown_and_not_harmless(feature_set):
    found = {one.feature: one.undeclared for one in mark_features(feature_set, {"orders": orders()})}
    assert (found["mean_delay"], found["size"], found["amount"]) == (("payments",), ("shops",), ())


def test_the_derivation_changes_with_the_feature_and_with_the_marks_and_with_nothing_else(feature_set):
    contracts = {"orders": orders(), "payments": payments()}

    def derivations(changed, of=contracts):
        return {one.feature: one.derivation for one in mark_features(changed, of)}

    before = derivations(feature_set)
    assert derivations(replace(feature_set, description="other words", slices=())) == before
    changed = OnDemandView(name="relative", expressions={"amount_per_size": "amount / (size + 1)"})
    other = derivations(replace(feature_set, views=(*feature_set.views[:-1], changed)))
    assert {name for name in before if other[name] != before[name]} == {"amount_per_size"}
    renamed = replace(feature_set.spine, columns={**feature_set.spine.columns, "amount": "amount * 2"})
    label = replace(feature_set.label, source=renamed)
    other = derivations(replace(feature_set, spine=renamed, label=label))
    assert {name for name in before if other[name] != before[name]} == {"amount", "amount_per_size"}
    other = derivations(feature_set, contracts | {"payments": payments("delay")})
    assert {name for name in before if other[name] != before[name]} == {"mean_delay", "last_delay"}


class House:
    """The services that marks need, over real tables."""

    def __init__(self, ledger, home, tables):
        objects, lineage = ObjectStore(home / "objects"), Lineage(ledger.records)
        self.ledger = ledger
        self.datasets = Datasets(ledger, objects, lineage, Tables(str(home / "tables"), cache=home / "cache"))
        for name, (path,) in tables.items():
            file = objects.put_file(path).sha256
            self.datasets.register("developer", name, file=file, format="parquet", source="made for the test", licence="CC0-1.0")
        self.feature_sets = FeatureSets(ledger, lineage, self.datasets)
        self.contracts = Contracts(ledger, Access(ledger, home), self.datasets)
        self.marks = Marks(ledger, self.feature_sets, self.contracts)

    def enforce(self, contract):
        draft = self.contracts.propose("developer", contract)
        validator = Principal(name="validator", kind=PrincipalKind.PERSON, roles=frozenset({Role.VALIDATOR}))
        self.contracts.accept(validator, contract.dataset, draft.version, "agreed")

    def of(self, feature):
        return next(one for one in self.marks.of("late_payment") if one.feature == feature)


@pytest.fixture
def house(ledger, home, tables):
    return House(ledger, home, tables)


def test_a_personal_feature_stays_personal_until_somebody_declares_otherwise_with_a_reason(house, feature_set):
    house.feature_sets.register("developer", feature_set)
    assert not house.of("shop").is_personal
    assert house.of("shop").undeclared == ("orders",)
    house.enforce(orders())
    assert house.of("shop").is_personal

    found = house.marks.declare_not_personal("developer", "late_payment", None, "shop", "only three shops, each with 10,000 customers")
    assert (found.is_personal, found.removal.declared_by) == (False, "developer")
    assert house.of("shop") == found
    assert house.of("mean_delay").is_personal  # made of the same column, but declared on its own
    size = house.ledger.size()
    assert house.marks.declare_not_personal("validator", "late_payment", 1, "shop", "again") == found
    assert house.ledger.size() == size
    (entry,) = house.ledger.entries(kind="feature.declared_not_personal")
    assert (entry.subject, entry.actor) == ("late_payment/shop", "developer")
    assert entry.payload == {
        "columns": ["orders.shop"], "derivation": found.derivation, "reason": "only three shops, each with 10,000 customers",
    }  # fmt: skip

    # Another mark, or another way of making the feature, is not covered by what was declared.
    house.enforce(orders(shop=column("shop", "string", personal={"kind": "special"})))
    assert house.of("shop").is_personal


def test_a_declaration_without_reason_feature_or_mark_is_refused(house, feature_set):
    house.feature_sets.register("developer", feature_set)
    with pytest.raises(InvalidInput, match="needs a reason"):
        house.marks.declare_not_personal("developer", "late_payment", None, "shop", " ")
    with pytest.raises(NotFound, match="has no feature 'colour'"):
        house.marks.declare_not_personal("developer", "late_payment", None, "colour", "why")
    with pytest.raises(Conflict, match="derives from no personal column"):
        house.marks.declare_not_personal("developer", "late_payment", None, "shop", "why")
    with pytest.raises(NotFound, match="no feature set version"):
        house.marks.of("nothing")
    assert APPEND_ONLY_TABLES == ("feature_personal_removal",)
