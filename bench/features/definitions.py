"""The features of the benchmark, as Gateline declares them."""

from __future__ import annotations

from bench.features.data import WEATHER
from gateline.features import Aggregation, EventSource, FeatureSet, LatestView, WindowView

KEYS = ("carrier", "origin", "tailnum")
WINDOWS = ("1h", "24h", "7d")

requests = EventSource(
    name="requests",
    dataset="flights",
    columns={name: name for name in ("flight_id", "ts", *KEYS)},
    event_time="ts",
    available_at="ts",
)
arrivals = EventSource(
    name="arrivals",
    dataset="flights",
    columns={name: name for name in ("known_ts", "arr_delay", *KEYS)},
    event_time="known_ts",
    available_at="known_ts",
)
weather = EventSource(
    name="weather",
    dataset="weather",
    columns={name: name for name in ("origin", "wts", *WEATHER)},
    event_time="wts",
    available_at="wts",
)
at_origin = LatestView(name="weather", source=weather, entity="origin", features=WEATHER, max_age="2d")
lookup = FeatureSet(name="lookup", spine=requests, entity="flight_id", time="ts", views=(at_origin,))


def delays(key: str) -> WindowView:
    """Return count and mean of arrival delays of a key over each window: `n_<key>_<window>` and `m_<key>_<window>`."""
    aggregations = (Aggregation("count", "arr_delay", feature=f"n_{key}"), Aggregation("mean", "arr_delay", feature=f"m_{key}"))
    return WindowView(name=f"{key}_delays", source=arrivals, entity=key, windows=WINDOWS, aggregations=aggregations)


windows = FeatureSet(
    name="windows", spine=requests, entity="flight_id", time="ts", views=(at_origin, *(delays(key) for key in KEYS)),
)  # fmt: skip
