"""The features: what was known of a parcel when it was shipped. Nothing here may see the future, and a test holds it."""

from __future__ import annotations

from gateline import Aggregation, EventSource, FeatureSet, KnownAt, Label, WindowView

# One row for each parcel: what is known when it is handed in, which is when the question is asked.
parcels = EventSource(
    name="parcels",
    dataset="parcels",
    columns={
        "parcel_id": "parcel_id",
        "shipped": "shipped_at",
        "hub": "hub",
        "service": "service",
        "weight_kg": "weight_kg",
        "distance_km": "distance_km",
        "date": "STRFTIME(shipped_at, '%Y-%m-%d')",
    },
    event_time="shipped",
    available_at="shipped",
)

# The same table once more: a delivery is known when it has happened, not when the parcel was shipped.
deliveries = EventSource(
    name="deliveries",
    dataset="parcels",
    columns={"hub": "hub", "hours_over": "took_hours - promised_hours", "delivered": "delivered_at"},
    event_time="delivered",
    available_at="delivered",
)

late_parcel = FeatureSet(
    name="late_parcel",
    description="Is the parcel going to arrive later than promised? Features as known when it is shipped.",
    spine=parcels,
    entity="parcel_id",
    time="shipped",
    views=(
        WindowView(
            name="hub",
            source=deliveries,
            entity="hub",
            aggregations=(
                Aggregation("mean", "hours_over", feature="hub_hours_over_1d"),
                Aggregation("count", "hours_over", feature="hub_deliveries_1d"),
            ),
            windows=("1d",),
        ),
    ),
    columns=("hub", "service", "weight_kg", "distance_km"),
    label=Label(source=parcels, sql="took_hours > promised_hours", available_at="delivered_at"),
    unit="date",
    slices=("hub",),
    categorical=("hub", "service"),
    known_at=(KnownAt(dataset="parcels", columns=("took_hours", "delivered_at"), sql="delivered_at"),),
)
