"""`gateline demo`: the whole loop on real flights, told live."""

from __future__ import annotations

from pathlib import Path

import click

from gateline.cli.output import emit, session


@click.command("demo")
@click.option("--home", type=click.Path(file_okay=False), help="Folder of the installation. [default: that of `gateline --home`]")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Chooses the fault and the sample of requests.")
@click.option("--requests", type=click.IntRange(min=2_000), help="Number of replayed requests. [default: 60000]")
@click.option("--full", is_flag=True, help="Replay every flight of April to December.")
@click.option("--fast", is_flag=True, help="Replay a tenth of the requests, for tests.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the control plane; a free one when it is taken.")
@click.option("--serving-port", type=click.IntRange(1, 65535), help="Port of the inference workers; a free one when it is taken.")
@click.option("--exit", "leave", is_flag=True, help="End after the story; otherwise the server stays until Ctrl-C.")
@click.pass_context
def demo(
    ctx: click.Context,
    home: str | None,
    seed: int,
    requests: int | None,
    full: bool,
    fast: bool,
    port: int | None,
    serving_port: int | None,
    leave: bool,
) -> None:
    """Live through the whole loop on 336,776 real flights: data, features, training, gates, release, canary, monitoring, retraining.

    Exit status 1 names the chapter that failed. With --json the account goes to standard error and the figures to standard output.
    """
    from rich.console import Console

    from gateline.demo.options import REQUESTS, REQUESTS_FAST, Options
    from gateline.demo.stage import default_places
    from gateline.demo.story import tell_story
    from gateline.demo.telling import Teller

    default_home, default_port, default_serving_port = default_places()
    chosen = Options(
        home=Path(home) if home else session(ctx).home or default_home,
        seed=seed,
        requests=None if full else requests or (REQUESTS_FAST if fast else REQUESTS),
        port=port or default_port,
        serving_port=serving_port or default_serving_port,
        leave=leave,
    )
    as_json = session(ctx).json
    figures = tell_story(chosen, Teller(console=Console(stderr=as_json, highlight=False, soft_wrap=True)))
    if as_json:
        emit(ctx, figures, "")
