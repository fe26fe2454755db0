"""From answers of a worker to recorded predictions, exactly once, with real files and a real database."""

import json
import struct
import zlib

import msgspec
import polars as pl
import pytest

from gateline.kernel.errors import Conflict, IntegrityFailure, InvalidInput, NotFound
from gateline.lineage import Node
from gateline.serving import Environment, FeatureKind, FeatureSpec, RouteArm
from gateline.serving import segments as segments_module
from gateline.serving.ingest import schema
from gateline.serving.log import LogFrame, LogWriter, log_files
from tests.integration.serving.support import Installation, post
from tests.unit.serving.support import FEATURES, form_files

HOUR = 3_600_000_000


@pytest.fixture
def both(home, ledger):
    """An installation on each database."""
    found = Installation(home, ledger)
    found.create()
    found.publish(found.arm("champion", 1, 0.5), found.arm("canary", 2, 0.5, form_files(2, temp={"scale": 1.8, "offset": 32.0})))
    return found


def writer(installation, worker="w0", **options):
    names = [one.name for one in FEATURES]
    folder = installation.serving.folder / "log" / "flights"
    return LogWriter(folder, endpoint="flights", worker=worker, features=names, created_at=1, **options)


def frame(number, *, arm="champion", shadow=False, generation=1, error=""):
    version = "flight-delay@2" if arm == "canary" else "flight-delay@1"
    prediction = None if error else number / 1000
    return LogFrame(
        f"req_{number}", number * HOUR, True, number, "N1", version, generation, arm, 0.5, shadow,
        [f"prd_{number:06d}"], [3.5], [[1.0 + number, "UA", 10.0]], [prediction], [error],
    )  # fmt: skip


def test_an_endpoint_is_created_once_and_on_record(both):
    before = both.ledger.size()
    both.create()
    assert both.ledger.size() == before
    with pytest.raises(Conflict, match="latency_ms_p99"):
        both.serving.create_endpoint(
            "developer", "flights", model="flight-delay", features=FEATURES, environment=Environment.PROD, latency_ms_p99=1.0
        )
    with pytest.raises(InvalidInput, match="dev, staging or prod"):
        both.serving.create_endpoint("developer", "x", model="m", features=FEATURES, environment="moon", latency_ms_p99=1.0)
    with pytest.raises(InvalidInput):
        both.serving.create_endpoint("developer", "../up", model="m", features=FEATURES, environment="dev", latency_ms_p99=1.0)
    assert [one.name for one in both.serving.endpoints()] == ["flights"]
    assert [entry.payload["model"] for entry in both.ledger.entries(kind="endpoint.created")] == ["flight-delay"]


def test_a_route_is_published_with_the_change_that_asks_for_it_or_not_at_all(both):
    assert both.serving.route("flights").generation == 1
    with pytest.raises(ZeroDivisionError), both.ledger.transaction("operator") as tx:
        both.serving.publish_route(tx, "flights", [both.arm("champion", 2, 1.0)])
        raise ZeroDivisionError
    assert both.serving.route("flights").generation == 1
    assert both.publish(both.arm("champion", 2, 1.0)) == 2
    first, second = both.serving.routes("flights")
    assert (first.salt, second.salt) == ("flights", "flights")
    published = list(both.ledger.entries(kind="endpoint.route.published"))
    assert [entry.payload["generation"] for entry in published] == [1, 2]
    assert both.serving.route("flights", 1) == first


def test_a_route_that_cannot_be_served_is_refused_when_it_is_published(both):
    arm = both.arm("champion", 1, 1.0)
    foreign = RouteArm(name="champion", version="m@1", weight=1.0, form={"model.pkl": "0" * 64})
    missing = RouteArm(name="champion", version="m@1", weight=1.0, form={"serving.json": "0" * 64, "model.txt": "0" * 64})
    mixed = RouteArm(
        name="champion", version="m@1", weight=1.0, form=dict(arm.form) | {"model.txt": both.arm("x", 2, 1.0).form["model.txt"]}
    )
    cases = [(foreign, InvalidInput), (missing, NotFound), (mixed, IntegrityFailure)]
    for wrong, kind in cases:
        with pytest.raises(kind), both.ledger.transaction("operator") as tx:
            both.serving.publish_route(tx, "flights", [wrong])
    with pytest.raises(InvalidInput, match="sum to"), both.ledger.transaction("operator") as tx:
        both.serving.publish_route(tx, "flights", [both.arm("champion", 1, 0.7)])
    both.serving.create_endpoint(
        "developer",
        "narrow",
        model="m",
        features=[FeatureSpec(name="temp", kind=FeatureKind.NUMERIC)],
        environment="dev",
        latency_ms_p99=1.0,
    )
    with pytest.raises(InvalidInput, match="'carrier', which the endpoint does not have"), both.ledger.transaction("operator") as tx:
        both.serving.publish_route(tx, "narrow", [arm])
    with pytest.raises(NotFound), both.ledger.transaction("operator") as tx:
        both.serving.publish_route(tx, "nowhere", [arm])


def test_reconciling_writes_only_what_changed_and_makes_lost_files_again(both):
    path = both.serving.folder / "route-flights.json"
    content = path.read_bytes()
    assert both.serving.reconcile() == 0
    assert both.another_serving().reconcile() == 0
    path.unlink()
    assert both.serving.reconcile() == 1
    assert path.read_bytes() == content
    both.access.create_token("owner", "the-operator")
    assert both.serving.reconcile() == 1
    assert len(json.loads(path.read_bytes())["tokens"]) == len(json.loads(content)["tokens"]) + 1


def test_records_come_back_exactly_once_with_the_columns_that_are_promised(both):
    log = writer(both)
    for number in range(10):
        log.append(frame(number))
    assert both.serving.ingest() == 10
    assert both.serving.ingest() == 0
    log.append(frame(10, error="The prediction is nan."))
    other = writer(both, worker="w1")
    other.append(frame(11))
    assert both.another_serving().ingest() == 2
    table = both.serving.predictions("flights")
    assert table.schema == pl.Schema(schema(FEATURES))
    assert sorted(table["prediction_id"]) == [f"prd_{number:06d}" for number in range(12)]
    row = table.row(by_predicate=pl.col("prediction_id") == "prd_000003", named=True)
    assert row == {
        "prediction_id": "prd_000003", "request_id": "req_3", "event_time": 3 * HOUR, "event_time_source": "replay", "received_at": 3,
        "entity": "N1", "version": "flight-delay@1", "generation": 1, "arm": "champion", "weight": 0.5, "shadow": False,
        "latency_us": 3.5, "prediction": 0.003, "error": "", "feature.dep_delay": 4.0, "feature.carrier": "UA", "feature.temp": 10.0,
    }  # fmt: skip
    assert table.filter(pl.col("error") != "")["prediction"].to_list() == [None]
    log.close()
    other.close()


def test_features_are_recorded_as_the_model_used_them(both):
    swapped = both.arm("canary", 2, 0.5, form_files(2, temp={"feature": "dep_delay"}, dep_delay={"feature": "temp"}))
    both.publish(both.arm("champion", 1, 0.5), swapped)
    log = writer(both)
    for one in (frame(1), frame(2, arm="canary"), frame(3, arm="canary", generation=2), frame(4, generation=99)):
        log.append(one)
    log.close()
    both.serving.ingest()
    used = both.serving.predictions("flights").select("feature.dep_delay", "feature.carrier", "feature.temp").rows()
    assert used == [(2.0, "UA", 10.0), (3.0, "UA", 50.0), (10.0, "UA", 4.0), (5.0, "UA", 10.0)]


def test_readers_choose_by_event_time_and_by_segment(both):
    log = writer(both)
    for start in (0, 5):
        for number in range(start, start + 5):
            log.append(frame(number))
        both.serving.ingest()
    log.close()
    first, second = both.serving.segments("flights")
    assert both.serving.last_segment("flights") == second.id
    assert (first.record_count, first.min_event_time, first.max_event_time) == (5, 0, 4 * HOUR)
    assert [one.id for one in both.serving.segments("flights", after=first.id)] == [second.id]

    def numbers(**bounds):
        return [int(one[4:]) for one in both.serving.predictions("flights", **bounds)["prediction_id"]]

    assert numbers(start=3 * HOUR, end=6 * HOUR) == [3, 4, 5]
    assert numbers(after_segment=first.id) == [5, 6, 7, 8, 9]
    assert numbers(until_segment=first.id, start=4 * HOUR) == [4]
    assert numbers(start=100 * HOUR) == []
    assert both.serving.predictions("flights", start=100 * HOUR).schema == pl.Schema(schema(FEATURES))
    assert both.serving.predictions("flights", columns=["event_time"]).columns == ["event_time"]
    assert both.serving.state("flights")["watermark"] == 9 * HOUR
    assert both.serving.state("flights")["records"] == 10


def test_each_segment_is_on_record_with_its_digest_and_its_lineage(both):
    log = writer(both)
    log.append(frame(1))
    log.append(frame(2, arm="canary"))
    log.close()
    both.serving.ingest()
    (segment,) = both.serving.segments("flights")
    (entry,) = both.ledger.entries(kind="prediction.segment.closed")
    assert (entry.payload["sha256"], entry.payload["records"]) == (segment.sha256, 2)
    graph = both.lineage.ancestors(Node(kind="prediction_segment", id=str(segment.id)))
    assert {node.id for node in graph.nodes} == {str(segment.id), "flight-delay@1", "flight-delay@2"}
    assert both.serving.verify_segments("flights") == 1
    path = both.serving.folder / segment.path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityFailure, match=segment.sha256):
        both.serving.verify_segments("flights")


def test_a_crash_between_file_and_record_neither_loses_nor_doubles(both, monkeypatch):
    log = writer(both)
    for number in range(4):
        log.append(frame(number))
    log.close()
    with monkeypatch.context() as crash:
        crash.setattr(segments_module.Segments, "_record", _power_cut)
        with pytest.raises(KeyboardInterrupt):
            both.serving.ingest()
    folder = both.serving.folder / "predictions" / "flights"
    assert len(list(folder.iterdir())) == 1
    assert both.serving.predictions("flights").height == 0
    assert both.another_serving().ingest() == 4
    assert sorted(path.name for path in folder.iterdir()) == [one.path.rpartition("/")[2] for one in both.serving.segments("flights")]
    assert both.serving.predictions("flights").height == 4


def _power_cut(*_arguments):
    raise KeyboardInterrupt


def irregularities(installation):
    entries = installation.ledger.entries(kind="prediction.log.irregularity.found")
    return [(entry.payload["unreadable_bytes"], entry.payload["missing_frames"]) for entry in entries]


def append(installation, *numbers):
    log = writer(installation)
    for number in numbers:
        log.append(frame(number))
    log.close()
    return log_files(installation.serving.folder / "log" / "flights")["w0"][-1][1]


def test_a_torn_tail_is_passed_over_and_on_record(both):
    path = append(both, 0, 1, 2)
    path.write_bytes(path.read_bytes() + b"\x40\x00\x00\x00torn")
    assert both.serving.ingest() == 3
    assert irregularities(both) == []  # the worker may still be writing
    append(both, 3)
    assert both.serving.ingest() == 1
    assert irregularities(both) == [(8, 0)]
    assert both.serving.ingest() == 0
    assert irregularities(both) == [(8, 0)]


def test_missing_frames_are_on_record_and_cost_only_themselves(both):
    log = writer(both)
    ((_number, first),) = log_files(both.serving.folder / "log" / "flights")["w0"]
    ends = []
    for number in range(1, 5):
        log.append(frame(number))
        ends.append(first.stat().st_size)
    log.close()
    content = first.read_bytes()
    first.write_bytes(content[: ends[0] + 5] + content[ends[1] :])
    lost = append(both, 5, 6)
    append(both, 7)
    lost.unlink()
    while both.serving.ingest():
        pass
    assert sorted(both.serving.predictions("flights")["prediction_id"]) == ["prd_000001", "prd_000003", "prd_000004", "prd_000007"]
    assert irregularities(both) == [(5, 1), (0, 2)]


def test_two_ingests_at_once_take_each_record_once(both):
    from concurrent.futures import ThreadPoolExecutor

    log = writer(both)
    servings = [both.serving, both.another_serving()]
    taken = 0
    with ThreadPoolExecutor(2) as pool:
        for round_ in range(6):
            for number in range(round_ * 20, round_ * 20 + 20):
                log.append(frame(number))
            taken += sum(pool.map(lambda one: one.ingest(), servings))
    log.close()
    assert taken == 120
    assert sorted(both.serving.predictions("flights")["prediction_id"]) == [f"prd_{number:06d}" for number in range(120)]


def test_a_log_no_worker_wrote_does_not_keep_other_endpoints_waiting(both):
    both.create("other")
    path = append(both, 1)
    payload = msgspec.msgpack.encode(["no record"])
    order = struct.pack("<Q", 1)
    path.write_bytes(path.read_bytes() + struct.pack("<II", len(payload), zlib.crc32(payload, zlib.crc32(order))) + order + payload)
    names = [one.name for one in FEATURES]
    other = LogWriter(both.serving.folder / "log" / "other", endpoint="other", worker="w0", features=names, created_at=1)
    other.append(frame(7))
    other.close()
    with pytest.raises(IntegrityFailure, match="Frame 1 of the prediction log"):
        both.serving.ingest()
    assert both.serving.predictions("other").height == 1


def test_an_answered_prediction_is_found_at_once_with_what_it_was_made_from(installation, fleet):
    installation.create()
    installation.serve(installation.arm("champion", 1, 0.5), installation.arm("canary", 2, 0.5), fleet=fleet)
    answers = [post(fleet, installation.tokens["operator"]).body for _request in range(8)]
    for answer in answers:
        found = installation.serving.find_prediction(answer["parameters"]["prediction_id"])
        assert (found.version, found.arm, found.shadow) == (answer["model_version"], answer["parameters"]["arm"], False)
        assert found.prediction == answer["outputs"][0]["data"][0]
        assert found.features == {"dep_delay": 12.5, "carrier": "UA", "temp": 3.0}
        assert json.dumps(found.as_dict())
    with pytest.raises(NotFound):
        installation.serving.find_prediction("prd_none")
