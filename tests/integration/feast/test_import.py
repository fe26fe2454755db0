"""Imported repositories: read and never run, with a note for each difference in meaning."""

from __future__ import annotations

import datetime as dt
import importlib.util
import sys
from pathlib import Path

import polars as pl
import pytest

from gateline.adapters.feast import import_repository
from gateline.features import compute
from gateline.kernel.errors import InvalidInput, NotFound

REPOSITORY = '''
"""A repository as Feast's documentation writes them."""
import os
from datetime import timedelta

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float32, Float64, Int64

from shared import driver

os.remove(os.path.join(os.path.dirname(__file__), "canary"))  # import must not run this

stats_source = FileSource(
    name="driver_hourly_stats_source",
    path="data/driver_stats.parquet",
    timestamp_field="event_timestamp",
    created_timestamp_column="created",
    field_mapping={"conversions": "conv_rate"},
)
driver_stats = FeatureView(
    name="driver_stats",
    entities=[driver],
    ttl=timedelta(hours=2),
    schema=[Field(name="driver_id", dtype=Int64), Field(name="conv_rate", dtype=Float32), Field(name="trips", dtype=Int64)],
    source=stats_source,
    owner="owner@example.org",
)
forever = FeatureView(
    name="forever", entities=[driver], ttl=timedelta(0), schema=[Field(name="rating", dtype=Float64)],
    source=PushSource(name="push", batch_source=FileSource(path="data/ratings.parquet", timestamp_field="ts")),
)
computed = FeatureView(name="computed", entities=[driver], schema=[Field(name="v", dtype=Int64)], source=make_source())
request = RequestSource(name="request", schema=[Field(name="extra", dtype=Int64)])


@on_demand_feature_view(sources=[driver_stats, request], schema=[Field(name="more", dtype=Float64)])
def more_trips(inputs: pd.DataFrame) -> pd.DataFrame:
    """Adds what the request brings."""
    return inputs[["trips"]] + inputs["extra"]


for place in ("a", "b"):
    FeatureView(name=place, entities=[driver], source=stats_source)

activity_v1 = FeatureService(name="activity_v1", features=[driver_stats[["trips"]], forever, more_trips])
everything = FeatureService(name="everything", features=[driver_stats])
'''
SHARED = 'from feast import Entity, ValueType\n\ndriver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)\n'


@pytest.fixture
def repository(tmp_path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "features.py").write_text(REPOSITORY)
    (folder / "shared.py").write_text(SHARED)
    (folder / "canary").touch()
    return folder


def loaded(code: str, folder: Path):
    """The module of a written `features.py`."""
    path = folder / "imported_features.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("imported_features", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["imported_features"] = module
    spec.loader.exec_module(module)
    return module


def test_views_sources_and_services_become_gateline_definitions(repository, tmp_path):
    found = import_repository(repository)
    assert (found.views, found.sets) == (("driver_stats", "forever"), ("activity_v1", "everything"))
    module = loaded(found.code, tmp_path)
    view = module.driver_stats_view
    assert (view.name, view.max_age, view.owner) == ("driver_stats", 7200, "owner@example.org")
    assert view.entity.keys == ("driver_id",)
    assert (view.source.dataset, view.source.event_time, view.source.available_at) == ("driver_stats", "event_timestamp", "created")
    assert view.source.columns["conv_rate"] == "conversions"
    assert module.forever_view.max_age == 36_500 * 86_400
    assert module.activity_v1.features == ("trips", "rating")
    assert module.everything.features == ("conv_rate", "trips")


def test_the_code_of_the_repository_is_never_run(repository):
    import_repository(repository)
    assert (repository / "canary").exists()


def test_each_difference_in_meaning_is_noted(repository):
    notes = "\n".join(import_repository(repository).notes)
    for note in (
        "driver_stats (features.py:22): Feast ignores its ttl online",
        "here a row counts from created on",
        "Feast's dask store drops requests whose row expired",
        "forever (features.py:30): ttl 0 means for ever in Feast",
        "its PushSource is a stream",
        "it does not say when rows could be known; ts is taken",
        "computed (features.py:34): its source is no literal FileSource but 'make_source()'; the view is left out",
        "more_trips (features.py:38): the Python code of this on_demand_feature_view is not translated",
        "activity_v1 (features.py:47): it uses 'more_trips', which is not translated",
        "features.py:44: declarations inside a for are not read",
        "Feast gets its requests as a table at each call",
    ):
        assert note in notes


def test_untranslated_code_is_kept_as_a_comment(repository):
    code = import_repository(repository).code
    assert "# Not translated: more_trips (features.py:38) runs Python code." in code
    assert '#     return inputs[["trips"]] + inputs["extra"]' in code


def test_imported_sets_compute_with_one_meaning_of_age_and_knowledge(repository, tmp_path):
    """A value that was created after the request is not used, and one that is too old is missing."""
    module = loaded(import_repository(repository).code, tmp_path)

    def hour(number: float) -> dt.datetime:
        return dt.datetime(2013, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=number)

    rows = {"driver_id": [1, 1, 2], "event_timestamp": [hour(1), hour(2), hour(1)], "created": [hour(1), hour(5), hour(1)]}
    pl.DataFrame({**rows, "conversions": [0.5, 0.25, 0.75], "trips": [10, 20, 30]}).write_parquet(tmp_path / "stats.parquet")
    asked = {"driver_id": [1, 2, 2], "event_timestamp": [hour(2.5), hour(2.5), hour(3.5)]}
    pl.DataFrame(asked).write_parquet(tmp_path / "requests.parquet")
    files = {"driver_stats": [tmp_path / "stats.parquet"], "everything_requests": [tmp_path / "requests.parquet"]}
    assert compute(module.everything, files)["trips"].to_list() == [10, 30, None]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, NotFound, "There is no Python file"),
        ("def broken(:", InvalidInput, "features.py is no Python file"),
        ("x = 1", InvalidInput, "No feature view of the repository can be translated"),
    ],
)
def test_what_cannot_be_imported_is_said(tmp_path, text, error, message):
    if text is not None:
        (tmp_path / "features.py").write_text(text)
    with pytest.raises(error, match=message):
        import_repository(tmp_path)
