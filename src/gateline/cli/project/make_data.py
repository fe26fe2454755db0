"""Make the data: parcels of five months, the same ones for the same seed. Replace this file by your own data.

python make_data.py
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

START = datetime(2025, 1, 1, tzinfo=UTC)
HUBS = {"north": 0.0, "south": 4.0, "harbour": 9.0}  # hours that a hub adds on an ordinary day
DAYS = 150
PARCELS_PER_DAY = 60


def make_data(folder: Path, *, seed: int = 1) -> Path:
    """Write `parcels.csv` into the folder and return its path. One parcel in fifty is lost and never delivered."""
    chance = np.random.default_rng(seed)
    number = DAYS * PARCELS_PER_DAY
    day = np.repeat(np.arange(DAYS), PARCELS_PER_DAY)
    hub = chance.choice(list(HUBS), number)
    express = chance.random(number) < 0.3
    distance = chance.gamma(2.0, 150.0, number).round(1)
    weight = chance.gamma(1.5, 2.0, number).round(2)
    shipped = [
        START + timedelta(days=int(one), seconds=int(second)) for one, second in zip(day, chance.integers(0, 86_400, number), strict=True)
    ]

    backlog = {name: wander(chance) for name in HUBS}  # grows and shrinks over days: what recent deliveries can tell
    waiting = np.array([HUBS[name] + backlog[name][one] for name, one in zip(hub, day, strict=True)])
    took = 10 + distance / 25 + weight + waiting + np.where(express, -8, 0) + chance.gamma(2.0, 4.0, number)
    promised = np.where(express, 24, 48)
    lost = chance.random(number) < 0.02
    table = pl.DataFrame(
        {
            "parcel_id": [f"P{index:06d}" for index in range(number)],
            "shipped_at": [moment.isoformat() for moment in shipped],
            "hub": hub,
            "service": np.where(express, "express", "standard"),
            "weight_kg": weight,
            "distance_km": distance,
            "promised_hours": promised,
            "took_hours": [None if gone else round(float(hours), 2) for hours, gone in zip(took, lost, strict=True)],
            "delivered_at": [
                None if gone else (moment + timedelta(hours=round(float(hours), 2))).isoformat(timespec="seconds")
                for moment, hours, gone in zip(shipped, took, lost, strict=True)
            ],
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "parcels.csv"
    table.write_csv(path)
    return path


def wander(chance: np.random.Generator) -> np.ndarray:
    """Return a backlog in hours for each day that remembers the day before."""
    hours = np.zeros(DAYS)
    for one in range(1, DAYS):
        hours[one] = 0.85 * hours[one - 1] + chance.normal(0, 4)
    return np.maximum(hours, 0) * 2


if __name__ == "__main__":
    print(make_data(Path(__file__).parent / "data"))
