"""
Score the tests: change one place of a module, run the tests of that module, see whether one fails.

    python -m tests.mutation [--only store] [--sample 40] [--at shared/store/batches.py:92]

The changed modules stand in a copy of the checkout; uv fetches cosmic-ray, which finds the places.
Only the tests that call a changed function run for it. build/mutation.json keeps which of them
noticed a mutant, as that test runs first next time, and the outcome of each part: it is not run
again until its modules or tests change.
"""

from __future__ import annotations

import compileall
import difflib
import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

import click
import psycopg
import pytest

from local.checkout import remove
from local.postgres import start_postgres
from tests.conftest import MODEL_DIR, prepare_database, with_database
from tests.support.emulators import ROOT
from tests.support.reliability import REPORT, describe, write_part

_COSMIC_RAY = "cosmic-ray==8.7.0"
_TEMPLATE = "template_mutation"
_LONGEST_SECONDS = 900
# Times as long as the tests take without a change; a machine may be busy meanwhile.
_PATIENCE = 3
_LOG = "pytest.log"
_NOTICED_BY = "noticed_by.txt"
_CALLS = "calls.json"
_KEPT = ROOT / "build" / "mutation.json"
_COPIED = (
    "admin",
    "functions",
    "infra",
    "kaydangpt_client",
    "local",
    "shared",
    "tests",
    "benchmarks",
    "docs",
)
_COPIED_FILES = ("pyproject.toml", "Makefile", "README.md", "kaydangpt", ".env.example")
_OURS = ("admin", "benchmarks", "functions", "infra", "local", "shared", "tests")


@dataclass(frozen=True, slots=True)
class Part:
    """
    Modules, and the tests that hold them: those that take the least time first.

    Attributes:
        in_other_processes: Whether they run where calls are not seen, so that all tests have to.
    """

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    in_other_processes: bool = False


PARTS: Mapping[str, Part] = {
    "events": Part(("shared/messaging/events.py",), ("tests/unit/test_events.py",)),
    "citations": Part(("functions/query/answering/citations.py",), ("tests/unit/test_citing.py",)),
    "access": Part(
        (
            "shared/store/access.py",
            "functions/query/http/callers.py",
            "functions/query/http/links.py",
            "functions/query/http/signing.py",
            "functions/query/quotas/answer_cache.py",
        ),
        (
            "tests/unit/test_access.py",
            "tests/unit/test_hosts.py",
            "tests/unit/test_links.py",
            "tests/security/test_tenancy.py",
            "tests/integration/test_query_api.py",
        ),
    ),
    "store": Part(
        (
            "shared/store/batches.py",
            "shared/store/builds.py",
            "shared/store/chunks.py",
            "shared/store/dead_letters.py",
            "shared/store/document_lock.py",
            "shared/store/documents.py",
            "shared/store/outbox.py",
            "shared/store/recovery.py",
        ),
        (
            "tests/integration/test_store.py",
            "tests/integration/test_growth.py::test_old_leftovers_are_forgotten",
            "tests/integration/test_unchanged.py",
            "tests/integration/test_document_events.py",
            "tests/security/test_tenancy.py",
        ),
    ),
    "sandbox": Part(
        (
            "functions/ingest/confinement.py",
            "functions/ingest/frames.py",
            "functions/ingest/sandbox.py",
        ),
        (
            "tests/unit/test_confinement.py",
            "tests/unit/test_frames.py",
            "tests/integration/test_confinement.py",
            "tests/integration/test_sandbox.py",
        ),
        in_other_processes=True,
    ),
}


@dataclass(frozen=True, slots=True)
class Survivor:
    """A mutant that no test noticed; *source* is the line before the change."""

    path: str
    line: int
    change: str
    source: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one part went."""

    part: str
    places: int
    tried: int
    survivors: tuple[Survivor, ...]


class _SharedServer:
    """A plugin of pytest: one server, and one migrated database, for all runs."""

    def __init__(self, url: str) -> None:
        self._values = {"postgres_url": url, "template_database": _TEMPLATE}

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: pytest.FixtureRequest) -> object:
        """Give the value in place of what the fixture would make."""
        value = self._values.get(fixturedef.argname)
        if value is not None:
            fixturedef.cached_result = (value, fixturedef.cache_key(request), None)
        return value


class _Calls:
    """A plugin of pytest: write which tests call which functions of *modules* to a file."""

    def __init__(self, path: Path, modules: Iterable[Path]) -> None:
        self._path = path
        self._modules = {str(module) for module in modules}
        self._test = ""
        self._tests: dict[str, set[str]] = {}

    def pytest_sessionstart(self) -> None:
        """Look at each call from now on, in all threads."""
        threading.settrace(self._see)
        sys.settrace(self._see)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Note which test runs."""
        self._test = item.nodeid
        result = yield
        self._test = ""
        return result

    def pytest_sessionfinish(self) -> None:
        """Write what was seen."""
        sys.settrace(None)
        found = {function: sorted(tests - {""}) for function, tests in self._tests.items()}
        self._path.write_text(json.dumps(found), encoding="utf-8")

    def _see(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename in self._modules:
            # The name of a function within another one has both.
            name = f"{code.co_filename} {code.co_qualname}"
            self._tests.setdefault(name, set()).add(self._test)


class _FirstFailure:
    """A plugin of pytest: write the name of the first test that failed to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the name; with -x there is one."""
        if report.failed and not self._path.exists():
            self._path.write_text(report.nodeid, encoding="utf-8")


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Only these parts.")
@click.option("--sample", default=40, show_default=True, help="Mutants of each part, evenly.")
@click.option("--at", multiple=True, metavar="PATH:LINE", help="Only the mutants of these lines.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the table; docs/reliability.md after a run of all parts, else nowhere.",
)
def main(*, only: Sequence[str], sample: int, at: Sequence[str], report: Path | None) -> None:
    """Run the mutants of all parts asked for, and print those that no test has noticed."""
    if at:
        only = [
            name
            for name, part in PARTS.items()
            if {place.rpartition(":")[0] for place in at} & {*part.modules}
        ]
    with tempfile.TemporaryDirectory(prefix="kaydangpt-mutation-") as folder:
        # The server and the parsers belong to a user without rights.
        Path(folder).chmod(0o755)
        copy = Path(folder) / "checkout"
        _copy_checkout(copy)
        server = start_postgres(
            Path(folder) / "data",
            options={"fsync": "off", "synchronous_commit": "off", "max_connections": "200"},
        )
        try:
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {_TEMPLATE}")
            prepare_database(with_database(server.url, _TEMPLATE), model_dir=MODEL_DIR)
            _import_what_is_not_ours()
            outcomes = [
                _run_part(name, copy=copy, server_url=server.url, sample=sample, at=at)
                for name in only or PARTS
            ]
        finally:
            server.stop()
            remove(server.data_dir)
    text = _describe(outcomes)
    print(text)
    if report or not only:
        write_part(report or REPORT, "mutation", text)


def _copy_checkout(copy: Path) -> None:
    copy.mkdir()
    for name in _COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _COPIED_FILES:
        shutil.copy(ROOT / name, copy / name)
    for name in _OURS:
        compileall.compile_dir(copy / name, quiet=2)


def _import_what_is_not_ours() -> None:
    """Import once what each run would import again."""
    for name in ("flask_openapi3", "google.cloud.storage", "hypothesis", "numpy", "onnxruntime"):
        importlib.import_module(name)


def _run_part(name: str, *, copy: Path, server_url: str, sample: int, at: Sequence[str]) -> Outcome:
    part = PARTS[name]
    kept = json.loads(_KEPT.read_text()) if _KEPT.exists() else {"noticed_by": {}, "outcomes": {}}
    state = _hash(part, sample=sample)
    if state in kept["outcomes"] and not at:
        places, tried, survived = kept["outcomes"][state]
        return Outcome(name, places, tried, tuple(Survivor(*each) for each in survived))
    listed = subprocess.run(
        [
            *(sys.executable, "-m", "uv", "run", "--quiet", "--no-project", "--isolated"),
            *("--with", _COSMIC_RAY, "python", ROOT / "tests/mutation/listing.py"),
            *(str(sample), ",".join(at)),
            *(copy / module for module in part.modules),
        ],
        check=True,
        stdout=subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    found = json.loads(listed.stdout)
    modules = [copy / module for module in part.modules]
    begun = time.monotonic()
    if _run(part.tests, copy=copy, server_url=server_url, watched=modules):
        print((copy / _LOG).read_text(encoding="utf-8", errors="replace")[-3000:])
        sys.exit(f"{name}: its tests fail without any change")
    patience = min(_LONGEST_SECONDS, 60 + _PATIENCE * (time.monotonic() - begun))
    calls = {} if part.in_other_processes else json.loads((copy / _CALLS).read_text())
    noticed_by = kept["noticed_by"]
    survivors = []
    for mutant in found["sample"]:
        path = Path(mutant["path"])
        module = str(path.relative_to(copy))
        original = path.read_text(encoding="utf-8")
        begun = time.monotonic()
        key = hashlib.sha256(f"{module} {mutant['source']}".encode()).hexdigest()
        first = noticed_by.pop(key, "")
        with _changed(path, mutant["source"]):
            survived = not (first and _fails(first, copy=copy, server_url=server_url))
            if survived:
                first = ""
                callers = (calls.get(f"{path} {name}", []) for name in mutant["functions"])
                # What is called while a module is imported, all tests may depend on.
                tests = sorted(set(chain.from_iterable(callers))) or part.tests
                status = _run(tests, copy=copy, server_url=server_url, seconds=patience)
                survived = status == 0
        took = time.monotonic() - begun
        if not survived:
            report = copy / _NOTICED_BY
            noticed_by[key] = first or (report.read_text() if report.exists() else "")
            _keep(kept)
        verdict = "SURVIVED" if survived else "noticed"
        print(f"{verdict} {module}:{mutant['line']} {mutant['change']} ({took:.0f} s)", flush=True)
        if survived:
            before = original.splitlines()
            line = before[mutant["line"] - 1]
            survivors.append(Survivor(module, mutant["line"], mutant["change"], line))
            lines = (before, mutant["source"].splitlines())
            print("\n".join(list(difflib.unified_diff(*lines, lineterm="", n=1))[2:]), flush=True)
    outcome = Outcome(name, found["all"], len(found["sample"]), tuple(survivors))
    if not at:
        survivors_kept = [[each.path, each.line, each.change, each.source] for each in survivors]
        kept["outcomes"][state] = [outcome.places, outcome.tried, survivors_kept]
        _keep(kept)
    return outcome


def _hash(part: Part, *, sample: int) -> str:
    """Return what is another text where the outcome of *part* may be another one."""
    files = [name.partition("::")[0] for name in (*part.modules, *part.tests)]
    files.append("tests/mutation/listing.py")
    digest = hashlib.sha256(str(sample).encode())
    for name in files:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _keep(kept: Mapping[str, Any]) -> None:
    _KEPT.parent.mkdir(exist_ok=True)
    _KEPT.write_text(json.dumps(kept, indent=0), encoding="utf-8")


@contextmanager
def _changed(path: Path, source: str) -> Iterator[None]:
    original = path.read_text(encoding="utf-8")
    # What was compiled is found by time and size: both may be the same.
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
        compiled.unlink()
    path.write_text(source, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(original, encoding="utf-8")


def _fails(test: str, *, copy: Path, server_url: str) -> bool:
    """Run one test, which may be gone by now."""
    return _run([test], copy=copy, server_url=server_url) == int(pytest.ExitCode.TESTS_FAILED)


def _run(
    tests: Sequence[str],
    *,
    copy: Path,
    server_url: str,
    watched: Sequence[Path] = (),
    seconds: float = _LONGEST_SECONDS,
) -> int:
    """
    Run tests in a process of its own; return its status, which is not 0 if it did not end.

    Args:
        seconds: How long it may take: a change can make a loop endless.
    """
    (copy / _NOTICED_BY).unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            status = _run_tests(tests, copy=copy, server_url=server_url, watched=watched)
        except BaseException:  # this process is a copy: nothing of it may go on
            traceback.print_exc()
            status = -1
        os._exit(status & 0xFF)
    deadline = time.monotonic() + seconds
    ended, result = 0, 0
    while not ended and time.monotonic() < deadline:
        ended, result = os.waitpid(child, os.WNOHANG)
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not ended:
        os.waitpid(child, 0)
        return -1
    return os.waitstatus_to_exitcode(result)


def _run_tests(
    tests: Sequence[str], *, copy: Path, server_url: str, watched: Sequence[Path]
) -> int:
    for module in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
        del sys.modules[module]
    os.chdir(copy)
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(ROOT)))]
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    log = os.open(copy / _LOG, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(log, stream)
    arguments = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
    # The parent has imported hypothesis.
    arguments += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
    plugins: list[object] = [_SharedServer(server_url), _FirstFailure(copy / _NOTICED_BY)]
    if watched:
        plugins.append(_Calls(copy / _CALLS, watched))
    return int(pytest.main(arguments, plugins=plugins))


_INTRODUCTION = """\
## Mutation score

Written by `make mutation`; do not edit. One place of a module is changed, and the tests
of that module run: a mutant that none of them notices is listed. Places in Python are
[cosmic-ray](https://cosmic-ray.readthedocs.io)'s; in SQL, operators are changed and conditions
dropped. Annotations, decorators, the numbers of a module's constants, and the words of errors and
logs are not changed: no test is to notice them.
"""


def _describe(outcomes: Sequence[Outcome]) -> str:
    lines = [_INTRODUCTION, "|part|places|tried|noticed|score|", "|---|---|---|---|---|"]
    for outcome in outcomes:
        noticed = outcome.tried - len(outcome.survivors)
        score = f"{100 * noticed / max(1, outcome.tried):.0f} %"
        lines.append(f"|{outcome.part}|{outcome.places}|{outcome.tried}|{noticed}|{score}|")
    survivors = [each for outcome in outcomes for each in outcome.survivors]
    if survivors:
        lines += ["", "|not noticed|line|change|", "|---|---|---|"]
    for each in survivors:
        cells = (f"`{each.path}:{each.line}`", f"`{describe(each.source)}`", describe(each.change))
        lines.append(f"|{'|'.join(cells)}|")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
