"""Debian's Chromium without a screen, and further query functions beside a running system's own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, sync_playwright

from local import processes
from local.processes import free_port
from local.system import ROOT, System, function_command, wait_until

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def require_chromium() -> None:
    """Leave the test out where there is no Chromium; in CI there must be one."""
    if CHROMIUM.exists():
        return
    message = f"{CHROMIUM} is missing: apt-get install chromium, or set CHROMIUM to its path"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Chromium, and end it with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def run_query(system: System, name: str, variables: Mapping[str, str]) -> Iterator[str]:
    """Run one more query function of *system* with settings of its own; yield its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = processes.start(
        function_command("query", port=port),
        environment={**system.environment, **system.variables["query"], **variables},
        log=system.folder / f"{name}.log",
        folder=ROOT,
        on_parent_death=signal.SIGKILL,
    )
    try:
        wait_until(lambda: requests.get(f"{url}/readyz", timeout=30).ok, what=f"{name} is ready")
        yield url
    finally:
        # Not asked to end: it would wait for the connections that the browser keeps.
        processes.stop(process, number=signal.SIGKILL)
