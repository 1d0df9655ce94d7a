"""
Measure what the routes of agents cost where no agent asks: python -m benchmarks.agent_routes

Starts fresh interpreters that import the query function's interface and make its application, in
turn with the routes of MCP and of OpenAI's clients and without them. Prints the medians of
processor time and memory, and what the first call of /mcp imports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import click

_ROOT = Path(__file__).resolve().parent.parent

# Without the routes: their modules are stand-ins, whose every name is an empty model or does
# nothing. What a start pays in any case is imported first.
_START = """
import json, sys, time, types
from unittest import mock
import flask_openapi3, psutil, pydantic, pydantic_settings
import functions.query.settings, functions.query.dependencies, shared.store
from pydantic import BaseModel

class Empty(BaseModel):
    pass

if sys.argv[1] == "without":
    for name in ("agents", "chat"):
        module = types.ModuleType(f"functions.query.http.{name}")
        value = Empty if name == "chat" else (lambda *_: None)
        module.__getattr__ = lambda _, value=value: value
        sys.modules[module.__name__] = module
process = psutil.Process()
before, started = process.memory_full_info().uss, time.process_time()
from functions.query.http.routes import create_app
settings = functions.query.settings.QuerySettings(database_url="postgresql://", model_dir=".")
create_app(mock.Mock(settings=settings))
seconds, used = time.process_time() - started, process.memory_full_info().uss - before
started = time.process_time()
if sys.argv[1] == "with":
    import functions.query.http.agent_tools, functions.query.http.mcp
called = time.process_time() - started
print(json.dumps({"start": seconds * 1e3, "memory": used / 1e6, "call": called * 1e3}))
"""


@click.command(help=__doc__)
@click.option("--runs", type=click.IntRange(min=1), default=9, show_default=True)
def main(*, runs: int) -> None:
    """Print the figures."""
    measured: dict[str, list[dict[str, float]]] = {"without": [], "with": []}
    for number in range(runs + 1):
        for kind, figures in measured.items():
            figure = _start(kind)
            if number:  # the first of each compiles, and fills the page cache
                figures.append(figure)

    def middle(kind: str, name: str) -> float:
        return median(figure[name] for figure in measured[kind])

    start, memory = (middle("with", name) - middle("without", name) for name in ("start", "memory"))
    for kind in measured:
        click.echo(
            f"{kind:8}{middle(kind, 'start'):6.0f} ms {middle(kind, 'memory'):6.1f} MB"
            " to import the interface and make the application"
        )
    click.echo(f"the routes cost a start {start:.0f} ms and {memory:.1f} MB")
    click.echo(f"the first call of /mcp imports for {middle('with', 'call'):.0f} ms")


def _start(kind: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", _START, kind],
        cwd=_ROOT,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    main()
