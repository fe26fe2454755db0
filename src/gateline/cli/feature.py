"""`gateline feature`: feature sets and the search for leaks; views, their values online, and the replay that compares both."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateline.cli.fits import VERBS
from gateline.cli.output import ExitCode, client, emit, progress, table
from gateline.kernel.clock import iso
from gateline.kernel.errors import Conflict, NotFound

if TYPE_CHECKING:
    from gateline.features import FeatureMarks


@click.group("feature")
def group() -> None:
    """Register, show and check feature sets; keep their views online."""


@group.command("register")
@click.argument("names", nargs=-1)
@click.option("--project", type=click.Path(file_okay=False), default=".", help="Folder with gateline.toml. [default: this folder]")
@click.pass_context
def register(ctx: click.Context, names: tuple[str, ...], project: str) -> None:
    """Register the feature sets NAMES of the project, by default all that [features] of gateline.toml declares."""
    from gateline.sdk.features import project_feature_sets, register_feature_set
    from gateline.sdk.project import Project

    feature_sets = project_feature_sets(Project.load(Path(project)))
    if unknown := [name for name in names if name not in feature_sets]:
        raise NotFound(
            f"gateline.toml declares no feature set {', '.join(unknown)}.", next_step=f"It declares: {', '.join(feature_sets) or 'none'}."
        )
    found = []
    for name in names or feature_sets:
        progress(f"Checking {name} against its data …")
        found.append(register_feature_set(client(ctx), feature_sets[name]))
    lines = [
        f"{one.id}: {len(one.features)} features over {', '.join(one.dataset_versions.values())}, digest {one.digest}" for one in found
    ]
    emit(ctx, [one.as_dict() for one in found], "\n".join(lines) or "gateline.toml declares no feature sets under [features].")


@group.command("list")
@click.argument("name", required=False)
@click.pass_context
def list_versions(ctx: click.Context, name: str | None) -> None:
    """List the versions of feature set NAME, or of all."""
    from gateline.sdk.features import feature_sets

    found = feature_sets(client(ctx), name)
    rows: list[dict[str, Any]] = [
        {
            "version": one.id,
            "features": len(one.features),
            "datasets": sorted(one.dataset_versions.values()),
            "digest": one.digest[:12],
            "registered": iso(one.created_at)[:19],
            "by": one.created_by,
        }
        for one in found
    ]
    columns = ["version", "features", "datasets", "digest", "registered", "by"]
    emit(ctx, [one.as_dict() for one in found], lambda: table(rows, columns) if rows else "No feature set is registered.")


@group.command("show")
@click.argument("version")
@click.pass_context
def show(ctx: click.Context, version: str) -> None:
    """Show VERSION (NAME for the newest, or NAME@NUMBER) with its features."""
    from gateline.sdk.features import feature_set
    from gateline.sdk.marks import feature_marks

    found = feature_set(client(ctx), version)
    marks = {one.feature: one for one in feature_marks(client(ctx), found)}
    parts = {name: part for part in found.definition.plan.parts for name in part.outputs}
    rows = [
        {
            "feature": one.name,
            "type": one.dtype,
            "kind": one.kind.value,
            "from": f"{type(parts[one.name]).__name__.lower()} of {parts[one.name].source.name}" if one.name in parts else "the request",
            "marks": _marks(marks[one.name]),
        }
        for one in found.features
    ]
    head = f"{found.id}  digest {found.digest}\n{found.definition.description}\nreads {', '.join(found.dataset_versions.values())}\n"
    content = found.as_dict() | {"marks": [one.as_dict() for one in marks.values()]}
    emit(ctx, content, lambda: f"{head}\n{table(rows, ['feature', 'type', 'kind', 'from', 'marks'])}")


def _marks(marks: FeatureMarks) -> list[str] | None:
    """Return what a feature derives from, as far as contracts say it."""
    removed = f" (declared not personal by {marks.removal.declared_by}: {marks.removal.reason})" if marks.removal else ""
    found = [f"{one.kind} by {one.dataset}.{one.column}" for one in marks.protected]
    if marks.personal:
        columns = " and ".join(f"{one.dataset}.{one.column} ({one.kind})" for one in marks.personal)
        found.append(f"personal by {columns}{removed}")
    return [*found, *(f"unknown: {dataset} has no contract" for dataset in marks.undeclared)] or None


@group.command("not-personal")
@click.argument("version")
@click.argument("feature")
@click.option("--reason", required=True, help="Why the values are no personal data.")
@click.pass_context
def not_personal(ctx: click.Context, version: str, feature: str, reason: str) -> None:
    """Declare that FEATURE of VERSION, made of personal columns, is no personal data; it holds until feature or marks change."""
    from gateline.sdk.features import feature_set
    from gateline.sdk.marks import declare_not_personal

    connection = client(ctx)
    found = declare_not_personal(connection, feature_set(connection, version), feature, reason)
    emit(ctx, found.as_dict(), f"Feature {feature} of {version} is recorded as no personal data: {reason}")


@group.command("check")
@click.argument("version")
@click.option("--rows", type=click.IntRange(0, 10_000), default=200, show_default=True, help="Rows tried; 0 compares declared times only.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the sample of rows.")
@click.pass_context
def check(ctx: click.Context, version: str, rows: int, seed: int) -> None:
    """Search VERSION for features that see the future; exit status 3 when one does."""
    from gateline.sdk.features import check_feature_set, feature_set

    connection = client(ctx)
    found = feature_set(connection, version)
    leaks = check_feature_set(connection, found, seed=seed, rows=rows)
    good = (
        f"{found.id}: no feature sees the future (all declared times, and {rows} rows tried with what came later taken away and altered)."
    )
    bad = "\n".join([f"{found.id}: {len(leaks)} features see the future.", *(f"  {leak.detail}" for leak in leaks)])
    emit(ctx, {"id": found.id, "seed": seed, "rows": rows, "leaks": [leak.as_dict() for leak in leaks]}, bad if leaks else good)
    if leaks:
        ctx.exit(ExitCode.GATE_FAILED)


@group.command("parity")
@click.argument("version")
@click.option("--requests", type=click.IntRange(min=1), default=100_000, show_default=True, help="Requests drawn from the spine.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of requests, order and repetitions.")
@click.option("--fitted", metavar="FIT", help="Fit whose transforms both sides go through. [default: the newest of VERSION, if any]")
@click.option("--untransformed", is_flag=True, help="Compare the features as they are before any transform.")
@click.pass_context
def parity(ctx: click.Context, version: str, requests: int, seed: int, fitted: str | None, untransformed: bool) -> None:
    """Replay historical requests of VERSION through the online path; exit status 3 when a value differs from the offline join.

    Features are compared as a model sees them: when VERSION has been fitted, transformed on both sides.
    """
    from gateline.sdk.features import feature_fit, feature_fits, feature_set
    from gateline.sdk.online import replay

    if fitted is not None and untransformed:
        raise click.UsageError("--fitted transforms the features, and --untransformed does not: give one of them.")
    connection = client(ctx)
    found = feature_set(connection, version)
    progress(f"Replaying {found.id} …")
    fit = feature_fit(connection, fitted) if fitted else None
    if not fitted and not untransformed:
        fit = next(reversed(feature_fits(connection, found)), None)
    report = replay(connection, found, requests=requests, seed=seed, fitted=fit)
    wrong = [one for one in report.features if not one.agrees]
    rows = [{"feature": one.feature, "mismatch": one.mismatch, "missing": one.missing, "extra": one.extra} for one in wrong]
    head = (
        f"{found.id}: {report.requests:,} requests, {len(report.features)} features, {report.events:,} events delivered "
        f"({report.repeated:,} twice, {report.overtaken:,} after newer ones), seed {seed}"
        f"{f', transformed by {fit.id}' if fit else ''}."
    )
    bad = f"{head}\n{len(wrong)} features differ online:\n{table(rows, ['feature', 'mismatch', 'missing', 'extra'])}" if wrong else ""
    content = {"id": found.id, "fitted": fit.id if fit else None, **report.as_dict()}
    emit(ctx, content, bad or f"{head}\nEvery value equals the offline join.")
    if wrong:
        ctx.exit(ExitCode.GATE_FAILED)


@group.command("materialise")
@click.argument("view")
@click.option("--start", help="Availability after which rows are wanted, ISO 8601. [default: where the last run stopped]")
@click.option("--end", help="Availability up to which rows are wanted. [default: the newest row]")
@click.option("--dataset-version", type=click.IntRange(min=1), help="Number of the dataset version. [default: the newest]")
@click.option("--interval", default="7d", show_default=True, help="Length of an interval, such as 12h or 7d.")
@click.pass_context
def materialise(ctx: click.Context, view: str, start: str | None, end: str | None, dataset_version: int | None, interval: str) -> None:
    """Take the rows of VIEW's dataset into the online store; goes on where an earlier run stopped."""
    from gateline.features import seconds_of
    from gateline.sdk.online import materialise as run

    def show(state: dict[str, Any]) -> None:
        progress(f"{state['view']}: {state['done']} of {state['intervals']} intervals, up to {iso(state['end'])[:19]}")

    done = run(
        client(ctx), view, start=start, end=end, dataset_version=dataset_version, interval_seconds=seconds_of(interval), progress=show
    )
    counts = ", ".join(f"{count:,} {name}" for name, count in done["taken"].items() if count)
    emit(ctx, done, f"{done['view']}: {done['rows']:,} rows of {done['dataset_version']} ({counts or 'nothing new'})")


@group.command("read")
@click.argument("wanted")
@click.argument("keys", nargs=-1, required=True)
@click.option("--at", "t", help="Time, ISO 8601 with an offset. [default: now]")
@click.option("--set", "whole", is_flag=True, help="WANTED is a feature set, not a view.")
@click.option("--fitted", default="", metavar="FIT", help="Transform the features of the set by this fit, such as NAME@1/fit@2.")
@click.pass_context
def read(ctx: click.Context, wanted: str, keys: tuple[str, ...], t: str | None, whole: bool, fitted: str) -> None:
    """Read the features of view WANTED for one entity, given as KEYS `alias=value`; a value is JSON where it is no plain text."""
    from gateline.sdk.online import online_features

    pairs = [key.partition("=") for key in keys]
    if wrong := [key for key, (_, sign, _) in zip(keys, pairs, strict=True) if not sign]:
        raise click.UsageError(f"'{wrong[0]}' is not of the form alias=value.")
    entity = {name: _value(text) for name, _, text in pairs}
    answer = online_features(client(ctx), wanted if whole else [wanted], [entity], t, fitted=fitted)
    (row,) = answer["rows"]
    features = table([{"feature": name, "value": value} for name, value in row["features"].items()], ["feature", "value"])
    states = table(
        [{"view": answer["views"][name], "state": one["state"], "age_seconds": one["age_seconds"]} for name, one in row["views"].items()],
        ["view", "state", "age_seconds"],
    )
    emit(ctx, answer, f"{features}\n\n{states}\nat {answer['t']}")


@group.command("push")
@click.argument("source")
@click.argument("file", type=click.Path())
@click.option("--spool/--no-spool", default=None, help="Add the rows to the dataset too. [default: where it is fed with rows]")
@click.pass_context
def push(ctx: click.Context, source: str, file: str, spool: bool | None) -> None:
    """Send the events of a JSON-lines FILE, rows of the dataset of SOURCE; sending them again changes nothing."""
    from gateline.cli.keeping import json_lines
    from gateline.sdk.online import push_events

    _, rows = json_lines(Path(file))
    answer = push_events(client(ctx), source, rows, spool=spool)
    lines = [f"{view}: {', '.join(f'{count:,} {what}' for what, count in counts.items())}" for view, counts in answer["views"].items()]
    lines += [
        f"{name}: {one['appended']:,} rows appended, {one['repeated']:,} were there before"
        if one["spooled"]
        else f"{name}: nothing appended, the events are in the online store alone"
        for name, one in answer["datasets"].items()
    ]
    emit(ctx, answer, "\n".join(lines) or "No event was sent.")


@group.command("freshness")
@click.pass_context
def freshness(ctx: click.Context) -> None:
    """Show, for each view kept online, up to when its events are known and how far it lags behind."""
    from gateline.sdk.online import freshness as look

    found = look(client(ctx))
    rows = [
        {**one, "watermark": one["watermark"] and iso(one["watermark"])[:19], "answers_from": one["horizon"] and iso(one["horizon"])[:19]}
        for one in found
    ]
    columns = ["view", "source", "watermark", "lag_seconds", "answers_from"]
    emit(ctx, found, lambda: table(rows, columns) if rows else "No view is kept online.")


@group.command("views")
@click.argument("words", nargs=-1)
@click.pass_context
def views(ctx: click.Context, words: tuple[str, ...]) -> None:
    """List feature views whose name, owner, description, tags or features hold all WORDS."""
    from gateline.sdk.online import feature_views

    found = feature_views(client(ctx), " ".join(words))
    rows = [
        {
            "view": card["name"], "promoted": card["promoted"], "versions": len(card["versions"]), "owner": card["owner"],
            "tags": card["tags"], "description": f"DEPRECATED: {card['deprecated']}" if card["deprecated"] else card["description"],
        }
        for card in found
    ]  # fmt: skip
    columns = ["view", "promoted", "versions", "owner", "tags", "description"]
    emit(ctx, found, lambda: table(rows, columns) if rows else "No feature view is like that.")


@group.command("view")
@click.argument("version")
@click.pass_context
def view(ctx: click.Context, version: str) -> None:
    """Show view VERSION (NAME for the promoted one): what is kept online of it, how fresh it is, and who uses it."""
    from gateline.sdk.online import consumers, view_statistics

    found = view_statistics(client(ctx), version)
    users = consumers(client(ctx), found["id"].partition("@")[0])
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in found.items() if name != "missing_share"]
    lines += [f"missing {name}: {share:.1%}" for name, share in found["missing_share"].items()]
    lines += [f"used by {kind.replace('_', ' ')}: {', '.join(names) or 'none'}" for kind, names in users.items()]
    emit(ctx, {**found, "consumers": users}, "\n".join(lines))


@group.command("promote")
@click.argument("version")
@click.pass_context
def promote(ctx: click.Context, version: str) -> None:
    """Make view VERSION (NAME@NUMBER) the one that its name means."""
    from gateline.sdk.online import promote_view

    found = promote_view(client(ctx), version)
    emit(ctx, found, f"{found['name']} is {found['id']} from now on.")


@group.command("remove")
@click.argument("version")
@click.pass_context
def remove(ctx: click.Context, version: str) -> None:
    """Remove the values of view VERSION (NAME@NUMBER), which is not promoted, from the online store."""
    from gateline.sdk.online import remove_view

    found = remove_view(client(ctx), version)
    emit(ctx, found, f"The values of {found['id']} are removed; gateline feature materialise {found['id']} brings them back.")


@group.command("deprecate")
@click.argument("view")
@click.option("--reason", required=True, help="Why; an empty text takes the deprecation back.")
@click.option("--successor", default="", help="View to use instead.")
@click.pass_context
def deprecate(ctx: click.Context, view: str, reason: str, successor: str) -> None:
    """Warn everybody who registers a set with VIEW or reads it."""
    from gateline.sdk.online import deprecate_view

    found = deprecate_view(client(ctx), view, reason=reason, successor=successor)
    emit(ctx, found, f"{view} is deprecated: {found['deprecated']}." if found["deprecated"] else f"{view} is no longer deprecated.")


def _value(text: str) -> Any:
    """Return a key's value: JSON numbers, booleans and quoted texts; anything else is text as it is."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, str | int | float) or found is None else text


@group.command("compute")
@click.argument("version")
@click.option("--engine", type=click.Choice(["polars", "spark"]), default="polars", show_default=True, help="What computes the features.")
@click.option("--out", type=click.Path(dir_okay=False), help="New Parquet file for the rows.")
@click.option("--fitted", metavar="FIT", help="Transform the features by this fit, such as NAME@1/fit@2.")
@click.pass_context
def compute(ctx: click.Context, version: str, engine: str, out: str | None, fitted: str | None) -> None:
    """Compute VERSION over the data it pins, and tell rows, logical digest and seconds.

    Both engines give the same whole numbers and texts; fractions agree to 1e-9 of their size, so that their digests may differ.
    """
    from gateline.data import frame_digest
    from gateline.local.computing import compute_with, write_rows
    from gateline.sdk.features import feature_fit, feature_set, tables

    if out is not None and Path(out).exists():
        raise Conflict(f"The file {out} exists already.", next_step="Choose another name, or remove the file first.")
    connection = client(ctx)
    found = feature_set(connection, version)
    fit = None if fitted is None else feature_fit(connection, fitted)
    if fit is not None:
        fit.check(found.id)
    files = tables(connection, found)
    progress(f"Computing {found.id} with {engine} …")
    started = time.monotonic()
    rows = compute_with(engine, found.definition, files)
    rows = rows if fit is None else fit.apply(rows, found.id)
    seconds = round(time.monotonic() - started, 2)
    if out is not None:
        write_rows(rows, Path(out))
    used = {} if fit is None else {"fitted": fit.id}
    answer = {"id": found.id, "engine": engine, **used, "rows": rows.height, "digest": frame_digest(rows), "seconds": seconds, "out": out}
    text = f"{found.id}: {rows.height:,} rows, digest {answer['digest']}, {seconds} s with {engine}"
    emit(ctx, answer, text + (f", written to {out}" if out is not None else ""))


@group.command("import-feast")
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option("--out", type=click.Path(dir_okay=False), default="features.py", show_default=True, help="New Python file.")
@click.pass_context
def import_feast(ctx: click.Context, folder: str, out: str) -> None:
    """Write the definitions of the Feast repository in FOLDER as Gateline's, with a note for each difference in meaning.

    The repository's code is read and never run.
    """
    from gateline.local.computing import import_feast as imported

    if Path(out).exists():
        raise Conflict(f"The file {out} exists already.", next_step="Choose another name with --out, or remove the file first.")
    found = imported(Path(folder))
    Path(out).write_text(found.code, encoding="utf-8")
    names = f"{len(found.views)} views and {len(found.sets)} feature sets"
    lines = [f"{out}: {names} from {folder}", *(f"  note: {note}" for note in found.notes)]
    emit(ctx, {"out": out, "views": list(found.views), "sets": list(found.sets), "notes": list(found.notes)}, "\n".join(lines))


@group.command("export-feast")
@click.argument("version")
@click.argument("folder", type=click.Path(file_okay=False))
@click.pass_context
def export_feast(ctx: click.Context, version: str, folder: str) -> None:
    """Write VERSION as a Feast repository into the new FOLDER: its values at every instant at which one changes.

    Feast's lookup of the newest row then gives the same values, windows included.
    """
    from gateline.local.computing import export_feast as exported
    from gateline.sdk.features import feature_set, tables

    if Path(folder).exists():
        raise Conflict(f"The folder {folder} exists already.", next_step="Choose another name, or remove it first.")
    connection = client(ctx)
    found = feature_set(connection, version)
    written = exported(found.definition, tables(connection, found), Path(folder))
    lines = [f"{found.id}: {folder}", *(f"  {name}: {rows:,} rows" for name, rows in written.rows.items())]
    emit(ctx, {"id": found.id, "folder": folder, "rows": written.rows, "notes": list(written.notes)},
         "\n".join([*lines, *(f"  note: {note}" for note in written.notes)]))  # fmt: skip


for _verb in VERBS:
    group.add_command(_verb)
