"""A project whose steps misbehave, written into a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SETTINGS = """
[project]
name = "faulty"
[pipelines]
one = "flows:one"
two = "flows:two"
"""

_FLOWS = '''
import os, signal, subprocess, sys, time
from pathlib import Path
from gateline import context, each, pipeline, step

HERE = Path(__file__).parent


def sleeper(where: Path) -> None:
    """Write our process id and sleep."""
    where.write_text(str(os.getpid()))
    time.sleep(600)


@step(cache=False, timeout=3)
def endless() -> int:
    time.sleep(600)
    return 1


@step(cache=False, timeout=1)
def deaf() -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (HERE / "deaf.pid").write_text(str(os.getpid()))
    while True:
        time.sleep(600)


@step(cache=False, memory="400MiB")
def leaking() -> int:
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1 << 20)) * 8)
        time.sleep(0.02)


@step(cache=False)
def printing() -> str:
    line = b"x" * 1023 + b"\\n"
    os.write(1, b"the first line\\n")
    for _ in range(1 << 10):
        sys.stdout.buffer.write(line * 1024)
    sys.stdout.flush()
    print("the last line")
    return "done"


@step(cache=False)
def silent() -> int:
    os._exit(0)


@step(cache=False)
def killed() -> int:
    os.kill(os.getpid(), signal.SIGKILL)


@step(cache=False)
def forking() -> int:
    if os.fork() == 0:
        sleeper(HERE / "child.pid")
    daemon = "import os,sys,time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", daemon, str(HERE / "daemon.pid")], start_new_session=True)
    while not ((HERE / "child.pid").exists() and (HERE / "daemon.pid").exists()):
        time.sleep(0.01)
    return 1


@step(cache=False)
def closing() -> int:
    os.close(1)
    os.close(2)
    time.sleep(0.3)
    return 7


@step(cache=False)
def raising() -> int:
    print("before")
    raise ValueError("no rows")


@step(cache=False)
def nan() -> float:
    return float("nan")


@step(cache=False)
def long(text: str) -> int:
    return len(text)


@step(cache=False, retries=2)
def flaky() -> int:
    if context().attempt < 3:
        raise ValueError("not yet")
    return 1


@step(cache=False)
def waiting() -> int:
    sleeper(HERE / "waiting.pid")
    return 1


@step
def first(content: str) -> str:
    return content


@step(cache=False)
def second(content: str) -> str:
    return content + "!"


@step(cache=False, executor="inline")
def leaving() -> int:
    sys.exit("bye")


@step(cache=False)
def unprintable() -> int:
    raise ValueError("half \\udcff and nothing \\0 in it")


@step(cache=False)
def slow() -> int:
    time.sleep(1)
    return 1


STEPS = (leaving, unprintable, slow, endless, deaf, leaking, printing, silent, killed, forking, closing, raising, nan, flaky, waiting)
BY_NAME = {one.function.__name__: one for one in STEPS}


@pipeline
def one(name: str = "", text: str = ""):
    return long(text) if text else BY_NAME[name]()


@pipeline
def two(content: str = "a"):
    return second(first(content))
'''


def write_faulty(folder: Path) -> None:
    """Write the project."""
    folder.mkdir(parents=True)
    (folder / "gateline.toml").write_text(_SETTINGS)
    (folder / "flows.py").write_text(_FLOWS)
