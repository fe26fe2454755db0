import json

import pytest

from gateline.access import hash_token
from gateline.kernel.canonical import sha256_bytes
from gateline.kernel.errors import Denied, IntegrityFailure, InvalidInput, Unauthenticated
from gateline.serving.predictor import IdSource
from gateline.serving.routing import (
    ArmDocument,
    FeatureDocument,
    FormCache,
    FormReference,
    GrantDocument,
    LoadedRoute,
    RouteDocument,
    read_route,
)  # fmt: skip
from tests.unit.serving.support import FEATURES, form_files, write_form

KEY = b"k" * 32


@pytest.fixture
def document(tmp_path):
    def arm(name, weight, seed):
        files = form_files(seed)
        directory = write_form(tmp_path / f"form-{seed}", files)
        reference = FormReference(directory=str(directory), files={key: sha256_bytes(content) for key, content in files.items()})
        return ArmDocument(name=name, version=f"m@{seed}", weight=weight, form=reference)

    return RouteDocument(
        format=1, endpoint="flights", model="m", generation=3, salt="s",
        features=tuple(FeatureDocument(name=one.name, kind=one.kind) for one in FEATURES),
        arms=(arm("champion", 0.5, 1), arm("canary", 0.5, 2)), shadow=(arm("predecessor", 0.0, 3),),
        tokens=(
            GrantDocument(hash=hash_token(KEY, "gl_ask"), principal="asker", permissions=("prediction:request",)),
            GrantDocument(hash=hash_token(KEY, "gl_old"), principal="old", permissions=("prediction:request",), expires_at=100),
            GrantDocument(hash=hash_token(KEY, "gl_replay"), principal="replayer", permissions=("prediction:replay",)),
        ),
    )  # fmt: skip


def test_a_snapshot_reads_back_as_it_was_written(tmp_path, document):
    path = tmp_path / "route.json"
    path.write_bytes(document.encode())
    assert read_route(path) == document
    assert document.encode() == read_route(path).encode()


@pytest.mark.parametrize("change", [{"format": 2}, {"surprise": 1}, {"arms": "none"}], ids=str)
def test_a_snapshot_this_worker_does_not_know_is_refused(tmp_path, document, change):
    path = tmp_path / "route.json"
    path.write_text(json.dumps(json.loads(document.encode()) | change))
    with pytest.raises(InvalidInput):
        read_route(path)


def test_an_entity_keeps_its_arm_and_both_arms_are_taken(document):
    route = LoadedRoute(document, KEY, FormCache())
    arms = {unit: route.choose(str(unit).encode()).name for unit in range(200)}
    assert set(arms.values()) == {"champion", "canary"}
    assert all(route.choose(str(unit).encode()).name == name for unit, name in arms.items())


def test_the_champion_scores_beside_the_canary_and_the_shadows_beside_the_champion(document):
    route = LoadedRoute(document, KEY, FormCache())
    champion, canary = route.arms
    assert [arm.name for arm in route.companions(canary)] == ["champion"]
    assert [arm.name for arm in route.companions(champion)] == ["predecessor"]


def test_tokens_are_known_by_the_same_hash_as_in_the_control_plane(document):
    route = LoadedRoute(document, KEY, FormCache())
    assert route.authorise(b"gl_ask", now=0).principal == "asker"
    assert route.authorise(b"gl_ask", now=0).principal == "asker"
    assert route.authorise(b"gl_old", now=99).principal == "old"
    for token, now in ((b"", 0), (b"gl_other", 0), (b"gl_old", 100)):
        with pytest.raises(Unauthenticated):
            route.authorise(token, now)
    with pytest.raises(Denied, match="prediction:request"):
        route.authorise(b"gl_replay", 0)


def test_a_damaged_form_stops_the_whole_route(document, tmp_path):
    path = tmp_path / "form-2" / "model.txt"
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(IntegrityFailure, match="form-2"):
        LoadedRoute(document, KEY, FormCache())


def test_a_form_that_two_routes_share_is_loaded_once(document):
    cache = FormCache()
    first, second = LoadedRoute(document, KEY, cache), LoadedRoute(document, KEY, cache)
    assert first.arms[0].form.form is second.arms[0].form.form
    cache.keep(set())
    assert LoadedRoute(document, KEY, cache).arms[0].form.form is not first.arms[0].form.form


def test_ids_sort_by_time_do_not_repeat_and_look_like_those_of_the_kernel():
    from gateline.kernel.ids import new_id

    source = IdSource()
    found = [source.next(now) for now in range(0, 50_000_000, 1000)]
    assert len(set(found)) == len(found)
    assert [one[:10] for one in found] == sorted(one[:10] for one in found)
    assert len("prd_" + found[0]) == len(new_id("prd"))
    assert (
        abs(int(new_id("x")[2:12].translate(str.maketrans("0123456789abcdefghjkmnpqrstvwxyz", "0123456789abcdefghijklmnopqrstuv")), 32)) > 0
    )
