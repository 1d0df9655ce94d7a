"""
Change pure modules at one place at a time, and ask whether their tests notice.

    python -m tests.mutation [--seconds 300]

mutmut and cosmic-ray copy or patch a whole package, which the functions framework's way of loading
folders does not survive; this takes one file, its unit tests, and a process for each change. A
comparison, a connective, a number or a condition is changed. Places are drawn by a fixed seed.
"""

from __future__ import annotations

import ast
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
_TESTED = {
    "functions/ingest/frames.py": "tests/unit/test_frames.py",
    "shared/messaging/events.py": "tests/unit/test_events.py",
    "functions/query/answering/citations.py": "tests/unit/test_citing.py",
    "admin/reconciliation.py": "tests/unit/test_reconciling.py",
    "functions/ingest/confinement.py": "tests/unit/test_confinement.py",
}
_OTHER: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
# As pytest's plugin: the changed file takes the place of the module that the tests import.
_PLUGIN = """
import importlib.util, sys
name, path = {name!r}, {path!r}
spec = importlib.util.spec_from_file_location(name, path)
module = importlib.util.module_from_spec(spec)
sys.modules[name] = module
spec.loader.exec_module(module)
"""


@click.command(help=__doc__)
@click.option("--seconds", default=300, show_default=True, help="For all modules together.")
@click.option("--seed", default=1, show_default=True)
def main(*, seconds: int, seed: int) -> None:
    """Print for each module how many of its changes were noticed."""
    all_noticed = all_made = 0
    for file, tests in _TESTED.items():
        until = time.monotonic() + seconds / len(_TESTED)
        changes = list(_changes(ROOT / file))
        random.Random(seed).shuffle(changes)
        noticed = made = 0
        for line, source in changes:
            if time.monotonic() > until:
                break
            made += 1
            if _is_noticed(file, source, tests):
                noticed += 1
            else:
                click.echo(f"  not noticed: {file}:{line}", err=True)
        click.echo(f"{file}: {noticed} of {made} noticed, of {len(changes)} places")
        all_noticed += noticed
        all_made += made
    click.echo(f"all: {all_noticed} of {all_made} noticed")


def _changes(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, changed source) for each place at which *path* can be changed."""
    source = path.read_text("utf-8")
    places = sum(map(_can_change, ast.walk(ast.parse(source))))
    for number in range(places):
        tree = ast.parse(source)
        seen = -1
        for node in ast.walk(tree):
            if _can_change(node):
                seen += 1
                if seen == number:
                    _change(node)
                    yield node.lineno, ast.unparse(tree)  # type: ignore[attr-defined]
                    break


def _can_change(node: ast.AST) -> bool:
    return _change(node, really=False)


def _change(node: ast.AST, *, really: bool = True) -> bool:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _OTHER:
        if really:
            node.ops[0] = _OTHER[type(node.ops[0])]()
        return True
    if isinstance(node, ast.BoolOp):
        if really:
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return True
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        if really:
            node.value = not node.value if isinstance(node.value, bool) else node.value + 1
        return True
    if isinstance(node, ast.If | ast.IfExp):
        if really:
            node.test = ast.UnaryOp(ast.Not(), node.test)
        return True
    return False


def _is_noticed(file: str, source: str, tests: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="kaydangpt-mutation-") as folder:
        changed = Path(folder) / Path(file).name
        changed.write_text(source, "utf-8")
        name = file.removesuffix(".py").replace("/", ".")
        plugin = Path(folder) / "changed_module.py"
        plugin.write_text(_PLUGIN.format(name=name, path=str(changed)))
        run = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
                *("-p", "changed_module", f"--basetemp={folder}/tests", tests),
            ],
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT}:{folder}", "PATH": "/usr/bin:/bin", "HOME": folder},
            capture_output=True,
            check=False,
            timeout=120,
        )
    return run.returncode != 0


if __name__ == "__main__":
    main()
