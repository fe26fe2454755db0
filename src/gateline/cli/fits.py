"""Verbs of `gateline feature` that fit the transforms of feature sets, and show what was learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gateline.cli.output import client, emit, progress, table
from gateline.kernel.clock import iso
from gateline.kernel.names import split_version_id

if TYPE_CHECKING:
    from gateline.features import FeatureFit

_SHOWN_MAX = 6


@click.command("fit")
@click.argument("version")
@click.option("--start", help="Learn from rows at this time or later, ISO 8601 with an offset. [default: no limit]")
@click.option("--end", help="Learn from rows before this time. [default: no limit]")
@click.option("--dataset-version", "datasets", multiple=True, help="Read NAME@NUMBER, not the version that the set pins; repeatable.")
@click.pass_context
def fit(ctx: click.Context, version: str, start: str | None, end: str | None, datasets: tuple[str, ...]) -> None:
    """Fit the transforms of feature set VERSION (NAME for the newest, or NAME@NUMBER) to its rows, and keep what was learned."""
    from gateline.sdk.features import feature_set, fit_features

    connection = client(ctx)
    found = feature_set(connection, version)
    progress(f"Fitting the transforms of {found.id} …")
    made = fit_features(connection, found, start=start, end=end, dataset_versions=dict(split_version_id(one) for one in datasets))
    emit(ctx, made.as_dict(), _sentence(made))


@click.command("fits")
@click.argument("version")
@click.pass_context
def fits(ctx: click.Context, version: str) -> None:
    """List the fits of feature set VERSION (NAME for the newest, or NAME@NUMBER)."""
    from gateline.sdk.features import feature_fits

    found = feature_fits(client(ctx), version)
    rows = [
        {
            "fit": one.id, "window": one.window, "rows": one.fitted.rows, "datasets": sorted(one.dataset_versions.values()),
            "digest": one.digest[:12], "fitted": iso(one.created_at)[:19], "by": one.created_by,
        }
        for one in found
    ]  # fmt: skip
    columns = ["fit", "window", "rows", "datasets", "digest", "fitted", "by"]
    emit(ctx, [one.as_dict() for one in found], lambda: table(rows, columns) if rows else f"{version} has not been fitted.")


@click.command("fit-show")
@click.argument("fit_id", metavar="FIT")
@click.pass_context
def show(ctx: click.Context, fit_id: str) -> None:
    """Show FIT (NAME@NUMBER/fit@NUMBER, or NAME@NUMBER for its newest) once it agrees with its digest and the ledger."""
    from gateline.sdk.features import feature_fit

    found = feature_fit(client(ctx), fit_id)
    rows = [
        {"feature": one.feature, "transform": one.kind, "learned": _learned(learned)}
        for one, learned in zip(found.fitted.transforms, found.fitted.parameters, strict=True)
    ]
    content = f"{_sentence(found)}\nrows digest {found.fitted.rows_digest}\nby {found.created_by} at {iso(found.created_at)[:19]}"
    emit(ctx, found.as_dict(), lambda: f"{content}\n\n{table(rows, ['feature', 'transform', 'learned'])}")


def _sentence(found: FeatureFit) -> str:
    datasets = ", ".join(sorted(found.dataset_versions.values()))
    return f"{found.id}: learned from {found.fitted.rows:,} rows of {datasets} ({found.window}), digest {found.digest}"


def _learned(parameters: Any) -> str:
    """Return parameters in one line; of many categories the first ones."""
    words = []
    for name, value in parameters.items():
        shown = value[:_SHOWN_MAX] if isinstance(value, list) else value
        more = f" and {len(value) - _SHOWN_MAX:,} more" if isinstance(value, list) and len(value) > _SHOWN_MAX else ""
        words.append(f"{name} {shown}{more}")
    return ", ".join(words)


VERBS: tuple[click.Command, ...] = (fit, fits, show)
