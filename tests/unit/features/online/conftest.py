"""A shop's online features: payments of customers arrive late, the weather is known hourly, shops have a size."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from gateline.access import Access, Principal, PrincipalKind, Role
from gateline.data import ColumnType, Datasets, ObjectStore, Provenance, Spool, Tables
from gateline.features import (
    Aggregation,
    EventIntake,
    EventSource,
    FeatureFits,
    FeatureSet,
    FeatureSets,
    FeatureViews,
    Impute,
    LatestView,
    LookupView,
    Materialisation,
    OnDemandView,
    OnlineFeatures,
    OrdinalEncode,
    QuantileClip,
    SqliteOnlineStore,
    Standardise,
    WindowView,
    compute,
    instant,
)
from gateline.kernel.clock import HOUR
from gateline.lineage import Lineage

PAYMENTS = EventSource(
    name="payments", dataset="payments", columns={"id": "id", "shop": "shop", "amount": "amount", "paid": "paid", "known": "known"},
    event_time="paid", available_at="known", event_id=("id",), lateness_seconds=600,
)  # fmt: skip
SHOPS = EventSource(
    name="shops", dataset="shops", columns={"shop": "shop", "size": "size", "since": instant("2013-01-01T00:00:00Z")},
    event_time="since", available_at="since", event_id=("shop",),
)  # fmt: skip
SPENDING = WindowView(
    name="spending", source=PAYMENTS, entity="shop", windows=("1h", "4h"), owner="payments team", description="What customers spend.",
    tags=("money",), aggregations=(Aggregation("sum", "amount"), Aggregation("count")),
)  # fmt: skip
SHOPPING = FeatureSet(
    name="shopping",
    spine=EventSource(
        name="orders", dataset="orders", columns={"order": "id", "shop": "shop", "asked": "asked", "amount": "amount"},
        event_time="asked", available_at="asked",
    ),
    entity="order",
    time="asked",
    views=(
        SPENDING,
        LatestView(name="newest", source=PAYMENTS, entity="shop", features={"last_amount": "amount"}, max_age="2h"),
        LookupView(name="shop", source=SHOPS, entity="shop", features=("size",)),
        OnDemandView(name="ratio", expressions={"share": "CAST(amount AS DOUBLE) / spending_sum_amount_1h"}),
    ),
    columns=("amount",),
)  # fmt: skip
FITTED = replace(
    SHOPPING,
    columns=("amount", "shop"),
    fitted=(
        Impute("last_amount"), Standardise("last_amount"), QuantileClip("amount", low=0.25, high=0.75), OrdinalEncode("shop"),
        Impute("share", strategy="mean"),
    ),
)  # fmt: skip
PAID = """id,shop,amount,paid,known
1,a,5,2013-01-01T10:00:00Z,2013-01-01T10:05:00Z
2,a,7,2013-01-01T10:30:00Z,2013-01-01T10:30:00Z
3,b,9,2013-01-01T11:00:00Z,2013-01-01T11:10:00Z
4,a,11,2013-01-01T11:20:00Z,2013-01-01T11:20:00Z
"""
ORDERED = """id,shop,asked,amount
1,a,2013-01-01T10:40:00Z,6
2,b,2013-01-01T11:30:00Z,18
3,c,2013-01-01T11:30:00Z,1
"""
SIZES = "shop,size\na,3\nb,4\n"


class Shop:
    """The services over one ledger."""

    def __init__(self, ledger, home) -> None:
        self.ledger = ledger
        self.clock = ledger.clock
        self.lineage = Lineage(ledger.records)
        self.objects = ObjectStore(home / "objects")
        self.datasets = Datasets(ledger, self.objects, self.lineage, Tables(str(home / "tables"), cache=home / "cache"))
        self.feature_sets = FeatureSets(ledger, self.lineage, self.datasets)
        self.fits = FeatureFits(ledger, self.lineage, self.feature_sets, self.datasets)
        self.store = SqliteOnlineStore(home / "online.db")
        self.views = FeatureViews(ledger, self.feature_sets, self.lineage, self.store)
        self.online = OnlineFeatures(
            views=self.views, feature_sets=self.feature_sets, datasets=self.datasets, store=self.store, clock=ledger.clock
        )
        self.materialisation = Materialisation(ledger=ledger, views=self.views, datasets=self.datasets, store=self.store)

    def add(self, name: str, text: str) -> None:
        stored = self.objects.put_bytes(text.encode())
        self.datasets.register("developer", name, file=stored.sha256, format="csv", source="a test", licence="CC0-1.0")

    def push(self, source: str, rows) -> dict[str, object]:
        """Take events into the online store alone."""
        return self.online.take_in(self.online.checked(source, rows))

    def materialise(self, *views: str) -> None:
        for view in views:
            self.materialisation.run("developer", view)


def payment(number: int, known: str, amount: int = 1, shop: str = "a", paid: str | None = None) -> dict[str, object]:
    return {
        "id": number, "shop": shop, "amount": amount, "paid": f"2013-01-01T{paid or known}:00Z", "known": f"2013-01-01T{known}:00Z",
    }  # fmt: skip


def variant(view, **changes) -> FeatureSet:
    """Return the set with one view in another form."""
    return replace(SHOPPING, views=tuple(replace(one, **changes) if one.name == view.name else one for one in SHOPPING.views))


SENDER = Principal(name="till", kind=PrincipalKind.SERVICE, roles=frozenset({Role.RUNNER}))
TYPES = {
    "id": ColumnType.INT64, "shop": ColumnType.STRING, "amount": ColumnType.INT64, "paid": ColumnType.DATETIME,
    "known": ColumnType.DATETIME,
}  # fmt: skip
FIRST = [payment(1, "10:05", 5), payment(2, "10:30", 7), payment(3, "11:10", 9, shop="b"), payment(4, "11:20", 11)]


class FedShop(Shop):
    """A shop whose payments come as rows."""

    def __init__(self, ledger, home) -> None:
        super().__init__(ledger, home)
        self.spool = Spool(ledger, self.datasets, self.objects, Tables(str(home / "tables"), cache=home / "cache"))
        self.access = Access(ledger, home)
        self.intake = EventIntake(online=self.online, spool=self.spool, access=self.access)

    def offline(self, declared: FeatureSet = SHOPPING) -> pl.DataFrame:
        """Cut a version of the payments, and return the set over it."""
        cut = self.spool.cut("developer", "payments")
        names = {source.dataset for source in declared.plan.sources}
        versions = {name: cut if name == "payments" else self.datasets.get(name) for name in names}
        return compute(declared, {name: self.datasets.table_paths(one) for name, one in versions.items()})

    def kept(self) -> dict[tuple[str, str], bytes]:
        """Return everything that is kept online."""
        found = {}
        for view in self.store.views():
            keys = sorted(self.store.keys(view))
            found |= {(view, key): one.blob for key, one in zip(keys, self.store.entries(view, keys), strict=True) if one}
        return found


def fed_shop(ledger, home, declared: FeatureSet = SHOPPING, orders: str = ORDERED) -> FedShop:
    """Return a shop at noon whose views are online."""
    ledger.clock.advance(12 * HOUR / 1_000_000)
    shop = FedShop(ledger, home)
    shop.spool.open("developer", "payments", types=TYPES, provenance=Provenance(source="the till", licence="internal"))
    shop.spool.append("developer", "payments", FIRST, key="first")
    shop.spool.cut("developer", "payments")
    for name, text in (("orders", orders), ("shops", SIZES)):
        shop.add(name, text)
    shop.version = shop.feature_sets.register("developer", declared)
    shop.materialise(*(view.name for view in declared.views if hasattr(view, "source")))
    return shop


def opened(ledger, home) -> Shop:
    ledger.clock.advance(12 * HOUR / 1_000_000)  # noon: what the tables say has happened
    shop = Shop(ledger, home)
    for name, text in (("payments", PAID), ("orders", ORDERED), ("shops", SIZES)):
        shop.add(name, text)
    shop.version = shop.feature_sets.register("developer", SHOPPING)
    return shop


@pytest.fixture
def shop(sqlite_ledger, home):
    found = opened(sqlite_ledger, home)
    yield found
    found.store.close()


@pytest.fixture
def online_shop(shop):
    shop.materialise("spending", "newest", "shop")
    return shop


@pytest.fixture
def shop_on_both(ledger, home):
    """The shop on SQLite and on PostgreSQL."""
    found = opened(ledger, home)
    yield found
    found.store.close()


@pytest.fixture
def payments_frame() -> pl.DataFrame:
    return pl.read_csv(PAID.encode(), try_parse_dates=True)
