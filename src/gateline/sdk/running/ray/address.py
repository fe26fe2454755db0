"""Where steps go: what `executor="ray://…"` and `[ray]` in gateline.toml say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

JOB_PORT = 8265
_CLIENT_PORT = 10001
_HERE = {"localhost", "127.0.0.1", "::1"}


class RaySettings(BaseSettings):
    """What is read from `RAY_AUTH_TOKEN`: the token of a cluster that wants one."""

    model_config = SettingsConfigDict(env_prefix="RAY_", extra="ignore", frozen=True)

    auth_token: str = ""


class RayTable(BaseModel):
    """The table `[ray]` of gateline.toml.

    Attributes:
        address: What `ray://auto` means: `host`, `host:port` or the URL of a job server.
        server: URL under which the nodes reach Gateline; the one that the runner uses by default.
        python: The interpreter of the nodes that has the environment of the project.
        exclude: Patterns of files that the steps do not need, such as `data/*`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str = f"http://127.0.0.1:{JOB_PORT}"
    server: str = ""
    python: str = ""
    exclude: list[str] = Field(default=[], max_length=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A cluster, and what a step wants of it beyond processors and memory.

    Attributes:
        url: Of its job server.
        gpus: Graphics processors.
        resources: Custom resources of Ray, by name.
    """

    url: str
    gpus: float
    resources: dict[str, float]

    @property
    def here(self) -> bool:
        """Whether the cluster is on this machine, as far as its address says."""
        return urlsplit(self.url).hostname in _HERE


def ray_table(settings: Mapping[str, Any]) -> RayTable:
    """Return `[ray]` of a project's settings.

    Raises:
        InvalidInput: something in it is wrong; all of it is named.
    """
    try:
        return RayTable(**settings.get("ray", {}))
    except (ValidationError, TypeError) as error:
        wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()] if isinstance(error, ValidationError) else []
        raise InvalidInput(
            f"[ray] in gateline.toml is wrong: {'; '.join(wrong) or error}.", next_step="It may have address, server, python and exclude."
        ) from error


def target_of(executor: str, table: RayTable) -> Target:
    """Return where a step goes.

    >>> target_of("ray://head?gpus=1&big=0.5", RayTable())
    Target(url='http://head:8265', gpus=1.0, resources={'big': 0.5})

    Raises:
        InvalidInput: the address cannot be meant.
    """
    parts = urlsplit(executor)
    place = table.address if parts.netloc in {"auto", "local"} and parts.port is None else parts.netloc
    if parts.netloc == "local":
        place = f"127.0.0.1:{JOB_PORT}"
    wanted: dict[str, float] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        try:
            wanted[name] = float(value)
        except ValueError as error:
            raise InvalidInput(f"'{executor:.200}' asks for {name}={value}, which is no number.", next_step="Write: ?gpus=1") from error
    return Target(url=_job_server(place, executor), gpus=wanted.pop("gpus", 0.0), resources=wanted)


def _job_server(place: str, executor: str) -> str:
    """Return the URL of a job server from `host`, `host:port` or a URL."""
    url = place if "://" in place else f"http://{place}"
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise InvalidInput(f"'{executor:.200}' is no address of a Ray cluster.", next_step="Write ray://host:8265 or ray://auto.")
    if port == _CLIENT_PORT:
        raise InvalidInput(
            f"'{executor:.200}' is the address of Ray Client, whose work ends with the process that asked for it.",
            next_step=f"Name the job server, which the dashboard has: ray://{parts.hostname}:{JOB_PORT}",
        )
    if port is None and parts.scheme == "http":
        url = f"http://{parts.netloc}:{JOB_PORT}"
    return url.rstrip("/")
