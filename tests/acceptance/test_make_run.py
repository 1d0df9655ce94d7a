"""`make run` from a fresh checkout: it starts whole, keeps its data, and stops whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from local.checkout import remove
from local.configuration import PORTS
from tests.support.documents import make_pdf, pdf_lines
from tests.support.pages import OUTPUTS, run_blocks

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "shared",
    "functions",
    "admin",
    "infra/cost.py",
    "infra/model",
    "kaydangpt",
    "kaydangpt_client",
    "local",
    "tests/requirements.txt",
    "Makefile",
    ".env.example",
    "README.md",
    "docs",
)
QUESTION = "How many days does the Quokka expense committee need to answer?"
DOCUMENT = """# Expenses

The Quokka expense committee answers every request within seventeen working days.
"""


class Checkout:
    """A copy of the checkout, with ports and state of its own."""

    def __init__(self, folder: Path, model_dir: Path) -> None:
        self.folder = folder
        for part in PARTS:
            target = folder / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / part).is_dir():
                shutil.copytree(
                    ROOT / part, target, ignore=shutil.ignore_patterns("__pycache__", "bucket")
                )
            else:
                shutil.copy(ROOT / part, target)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        own = {variable: str(self.ports[name]) for name, (variable, _) in PORTS.items()}
        not_ours = ("DATABASE_URL", "STORAGE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "MAKEFLAGS")
        self.environment = {k: v for k, v in os.environ.items() if k not in not_ours}
        self.environment |= own | {"MODEL_DIR": str(model_dir)}

    def readers_environment(self) -> dict[str, str]:
        """Return the environment of a reader's shell: kaydangpt and python are on the PATH."""
        path = f"{self.folder}:{self.folder / '.venv' / 'bin'}:{self.environment['PATH']}"
        return self.environment | {"PATH": path}

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )

    @contextmanager
    def running(self) -> Iterator[Run]:
        """Run `make run` until READY; whatever happens, nothing of it outlives the block."""
        log = self.folder / "make.log"
        with log.open("w") as output:
            make = subprocess.Popen(
                ["make", f"PYTHON={sys.executable}", "run"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(lambda: "READY" in log.read_text() or make.poll() is not None, seconds=90)
            assert make.poll() is None, log.read_text()
            yield Run(make, log, self.ports)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(make.pid, signal.SIGKILL)
            make.wait()

    def processes(self) -> list[psutil.Process]:
        """Return every process that belongs to this checkout."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                told = f"{process.environ().get('PYTHONPATH')} {process.cwd()} {process.cmdline()}"
                if str(self.folder) in told and process.pid != os.getpid():
                    found.append(process)
        return found


class Run:
    """A stack that is READY."""

    def __init__(self, make: subprocess.Popen[bytes], log: Path, ports: dict[str, int]) -> None:
        self.make = make
        self.log = log
        self.url = f"http://127.0.0.1:{ports['query']}"
        (self.stack,) = psutil.Process(make.pid).children()

    def family(self) -> list[psutil.Process]:
        return [self.stack, *self.stack.children(recursive=True)]

    def ask(self, question: str) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.url}/query",
            json.dumps({"question": question}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
            return answer

    def serves(self, target: str) -> psutil.Process:
        """Return the master process of a function."""
        (found,) = [p for p in self.stack.children() if target in p.cmdline()]
        return found

    def knows(self) -> bool:
        return "seventeen" in self.ask(QUESTION)["answer"]


def free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def wait_until(happened: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Checkout]:
    """Copy the checkout; the tests of this module run in their order and share its state."""
    made = Checkout(tmp_path_factory.mktemp("checkout"), model_dir)
    with tempfile.TemporaryDirectory(prefix="kaydangpt-test-") as temporary:
        made.environment["TMPDIR"] = temporary  # a killed stack leaves its own there
        yield made
    remove(made.folder / ".local" / "postgres")


def test_a_fresh_checkout_answers_from_a_dropped_file(checkout: Checkout) -> None:
    """READY, a file, its answer; a killed function comes back; Ctrl-C ends every process."""
    with checkout.running() as run:
        known = dict(
            line.split("=", 1)
            for line in (checkout.folder / ".local" / "env").read_text().splitlines()
        )
        assert known["QUERY_URL"] == run.url
        assert f"READY {run.url}\n" in run.log.read_text()
        # Other users of the machine read neither passwords nor documents; PostgreSQL's own user
        # goes through the folder.
        state = checkout.folder / ".local"
        readable = [path for path in state.iterdir() if path.stat().st_mode & 0o077]
        assert (readable, state.stat().st_mode & 0o066) == ([], 0)

        again = checkout.make(f"PYTHON={sys.executable}", "run")
        assert again.returncode != 0
        assert f"running already (process {run.stack.pid})" in again.stdout

        run.serves("record_dead_letter").kill()
        folder = checkout.folder / "local" / "bucket" / "policies"
        folder.mkdir(parents=True)
        (folder / "expenses.md").write_text(DOCUMENT)
        wait_until(run.knows)
        assert "dead_letters ended (signal SIGKILL); starting it again" in run.log.read_text()
        wait_until(lambda: "dead_letters started again" in run.log.read_text())
        citation = run.ask(QUESTION)["citations"][0]
        assert citation["name"] == "policies/expenses.md"

        status = checkout.make(f"PYTHON={sys.executable}", "admin", "ARGS=status")
        assert "policies/expenses.md" in status.stdout

        family = run.family()
        assert len(family) > len(PORTS)
        os.killpg(run.make.pid, signal.SIGINT)  # as a terminal does
        run.make.wait(30)
        assert all_gone(family)
        assert checkout.processes() == []
        assert "\nstopped\n" in run.log.read_text()


# What the reader of a page has already, or is asked to replace by something of their own.
PREPARED = {
    "docs/access.md": {
        "local/bucket/finance/plan.pdf": "The plan.",
        "local/bucket/handbook/a.txt": "A.",
    },
    "docs/operations.md": {"handbook/leave.txt": "Leave is 28 days."},
}


def test_commands_when_run_as_written(checkout: Checkout) -> None:
    """A reader who copies each block of a page, one after the other, sees what it promises."""
    (checkout.folder / "local" / "bucket").mkdir(exist_ok=True)
    with checkout.running() as run:
        for page, outputs in OUTPUTS.items():
            for name, text in PREPARED.get(page, {}).items():
                file = checkout.folder / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(
                    make_pdf([pdf_lines([text])]) if name.endswith(".pdf") else text.encode()
                )
            for block, output in zip(run_blocks(page), outputs, strict=True):
                if "functions-framework" in block:
                    serve_as_written(checkout, block)
                else:
                    run_as_written(checkout, run, block, output=output)


def run_as_written(checkout: Checkout, run: Run, block: str, *, output: str) -> None:
    """Run a block again until it prints what it promises: documents take a moment."""
    deadline = time.monotonic() + 60
    while True:
        shown = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.replace("http://127.0.0.1:8080", run.url)],
            cwd=checkout.folder,
            env=checkout.readers_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        if shown.returncode == 0 and output in shown.stdout:
            return
        assert time.monotonic() < deadline, f"{block}\n{shown.stdout}"
        time.sleep(0.5)


def serve_as_written(checkout: Checkout, block: str) -> None:
    """Run a block that serves a function until that answers."""
    (port,) = free_ports(1)
    log = checkout.folder / "serving.log"
    with log.open("w") as output:
        serving = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", block.replace("8090", str(port))],
            cwd=checkout.folder,
            env=checkout.readers_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def answers() -> bool:
        assert serving.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    try:
        wait_until(answers, seconds=60)
    finally:
        os.killpg(serving.pid, signal.SIGKILL)
        serving.wait()


def test_a_second_start_is_quick_and_has_its_data(checkout: Checkout) -> None:
    """What was indexed answers at once; SIGKILL of the stack leaves no process behind either."""
    started = time.monotonic()
    with checkout.running() as run:
        seconds = time.monotonic() - started
        assert run.knows()
        # Ten on an idle machine; the tests may share theirs.
        assert seconds < 30
        family = run.family()
        run.stack.kill()
        run.make.wait(30)
        wait_until(lambda: all_gone(family), seconds=40)
        assert checkout.processes() == []


def test_a_taken_port_is_one_clear_error(checkout: Checkout) -> None:
    """The error names the variable to set, and nothing is left running."""
    with socket.create_server(("127.0.0.1", checkout.ports["storage"])):
        refused = checkout.make(f"PYTHON={sys.executable}", "run")
    assert refused.returncode != 0
    port = checkout.ports["storage"]
    assert f"STORAGE_PORT: port {port} is taken." in refused.stdout
    assert "Traceback" not in refused.stdout
    assert checkout.processes() == []


def test_wrong_settings_are_all_named_before_anything_starts(checkout: Checkout) -> None:
    """A misspelt name in .env, a number that is none: one run tells both."""
    dotenv = checkout.folder / ".env"
    dotenv.write_text("GEMINI_APIKEY=x\nDATABASE_POOL_SIZE=many\n")
    refused = checkout.make(f"PYTHON={sys.executable}", "run")
    dotenv.unlink()
    assert refused.returncode != 0
    assert ".env sets GEMINI_APIKEY, which nothing reads: did you mean GEMINI_API_KEY?" in (
        refused.stdout
    )
    assert "DATABASE_POOL_SIZE" in refused.stdout
    assert "Traceback" not in refused.stdout


def test_a_function_that_cannot_start_says_why(checkout: Checkout) -> None:
    """`make run` ends with the function's own sentence, and nothing is left running."""
    checkout.environment["EMBEDDING_DEVICE"] = "cuda"
    refused = checkout.make(f"PYTHON={sys.executable}", "run")
    del checkout.environment["EMBEDDING_DEVICE"]
    assert refused.returncode != 0
    assert "embed_worker cannot start: EMBEDDING_DEVICE=cuda gives" in refused.stdout
    assert "READY" not in refused.stdout
    assert "Traceback" not in refused.stdout
    assert checkout.processes() == []


def test_clean_removes_the_state(checkout: Checkout) -> None:
    """After `make clean` nothing of the database, the bucket or the topics is left."""
    elsewhere = (checkout.folder / ".local" / "postgres").resolve()
    assert elsewhere.exists()
    cleaned = checkout.make("clean")
    assert cleaned.returncode == 0, cleaned.stdout
    assert not (checkout.folder / ".local").exists()
    assert not elsewhere.exists()
