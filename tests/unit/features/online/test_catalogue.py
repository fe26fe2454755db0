from __future__ import annotations

from dataclasses import replace

import pytest

from gateline.kernel.errors import Conflict, InvalidInput, NotFound
from gateline.lineage import Node
from tests.unit.features.online.conftest import SHOPPING, SPENDING, variant

LONGER = variant(SPENDING, windows=("1h", "8h"), owner="", tags=("money", "risk"))


def test_registering_a_set_records_its_views_by_fingerprint(shop_on_both):
    shop = shop_on_both
    card = shop.views.card("spending")
    assert (card.owner, card.description, card.tags, card.promoted) == ("payments team", "What customers spend.", ("money",), None)
    (version,) = card.versions
    assert (version.id, version.source, version.dataset, version.entity, version.online) == (
        "spending@1", "payments", "payments", ("shop",), False,
    )  # fmt: skip
    assert "spending_sum_amount_4h" in version.features
    shop.feature_sets.register("developer", replace(SHOPPING, name="again"))
    assert len(shop.views.card("spending").versions) == 1  # the same definition is the same version, whoever declares it
    assert [one.name for one in shop.views.search()] == ["newest", "shop", "spending"]
    assert shop.views.consumers("spending") == {"feature_sets": ["again@1", "shopping@1"], "model_versions": []}


def test_a_changed_definition_is_a_new_number_beside_the_old_one_until_it_is_promoted(shop_on_both):
    shop = shop_on_both
    shop.materialise("spending")
    shop.views.promote("developer", "spending@1")
    shop.feature_sets.register("developer", LONGER)
    card = shop.views.card("spending")
    assert [one.id for one in card.versions] == ["spending@1", "spending@2"]
    assert (card.owner, card.tags) == ("payments team", ("money", "risk"))  # what the new declaration does not say stays
    with pytest.raises(Conflict, match="not kept online"):
        shop.views.promote("developer", "spending@2")
    shop.materialise("spending@2")
    assert shop.views.get("spending").id == "spending@1"
    shop.views.promote("developer", "spending@2")
    assert shop.views.get("spending").id == "spending@2"
    for wanted in ("spending@1", "spending@2"):
        (row,) = shop.online.read_views([wanted], [{"shop": "a"}])["rows"]
        assert row["features"]["spending_sum_amount_1h"] == 11
    kinds = [entry.kind for entry in shop.ledger.entries(subject="spending@2", limit=1000)]
    assert kinds.count("feature_view.promoted") == 1


def test_the_old_version_stays_readable_until_it_is_removed(online_shop):
    shop = online_shop
    shop.feature_sets.register("developer", LONGER)
    shop.materialise("spending@2")
    shop.views.promote("developer", "spending@2")
    old = shop.views.get("spending@1")
    with pytest.raises(Conflict, match="what 'spending' means"):
        shop.views.remove("developer", "spending@2")
    removed = shop.views.remove("developer", "spending@1")
    assert not removed.online
    assert shop.store.extent(old.fingerprint).keys == 0
    with pytest.raises(Conflict, match="not kept online"):
        shop.online.read_views(["spending@1"], [{"shop": "a"}])
    shop.materialise("spending@1")
    assert shop.online.read_views(["spending@1"], [{"shop": "a"}])["rows"][0]["features"]["spending_sum_amount_1h"] == 11


@pytest.mark.parametrize(("text", "found"), [("money", 1), ("PAYMENTS team", 1), ("customers spend", 1), ("last_amount", 1), ("none", 0)])
def test_search_looks_at_all_that_is_said_of_a_view(shop, text, found):
    assert len(shop.views.search(text)) == found


def test_a_deprecated_view_warns_those_who_read_it(online_shop):
    shop = online_shop
    card = shop.views.deprecate("developer", "newest", reason="amounts are gross.", successor="spending")
    assert card.warning == "Feature view 'newest' is deprecated: amounts are gross. Use 'spending' instead."
    assert shop.online.read_views(["newest"], [{"shop": "a"}])["warnings"] == [card.warning]
    assert shop.online.read_set(shop.version, [{"shop": "a", "amount": 1}])["warnings"] == [card.warning]
    assert shop.views.warnings(shop.version.id) == [card.warning]
    assert shop.online.read_views(["spending"], [{"shop": "a"}])["warnings"] == []
    assert shop.views.deprecate("developer", "newest", reason=" ").warning == ""
    assert shop.views.warnings(shop.version.id) == []


def test_what_does_not_exist_is_said_so(shop):
    for act in (
        lambda: shop.views.card("none"),
        lambda: shop.views.get("spending@7"),
        lambda: shop.views.deprecate("developer", "spending", reason="old", successor="none"),
    ):
        with pytest.raises(NotFound):
            act()
    with pytest.raises(InvalidInput, match="its own successor"):
        shop.views.deprecate("developer", "spending", reason="old", successor="spending")


def test_models_made_from_a_set_are_consumers_of_its_views(shop):
    with shop.ledger.transaction("developer") as tx:
        frame = Node(kind="frame", id="f1")
        shop.lineage.link(tx, Node(kind="feature_set_version", id="shopping@1"), frame, "computed")
        shop.lineage.link(tx, frame, Node(kind="model_version", id="late@3"), "trained")
    assert shop.views.consumers("newest")["model_versions"] == ["late@3"]


def test_statistics_count_entities_and_what_is_missing(online_shop):
    found = online_shop.views.statistics(online_shop.views.get("newest"))
    assert (found["keys"], found["rows_backfilled"], found["lag_seconds"]) == (2, 4, 2400)
    assert found["missing_share"] == {"last_amount": 0.0}
    assert found["size_bytes"] > 0
