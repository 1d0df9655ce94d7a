"""
No regular expression of ours takes time out of proportion to the text it is given (ReDoS).

The expressions are read from the source, so that a new one is tested without being named here. Each
meets texts made of what it is made of, repeated; where four times the text takes more than nine
times the processor time it fails: four times is linear, sixteen times quadratic.
"""

from __future__ import annotations

import ast
import importlib
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from types import FrameType
from typing import Any

import pytest

from local.system import ROOT

# The parser of CPython's own re module, which has no public name.
codes: Any = import_module("re._constants")
parser: Any = import_module("re._parser")

_FOLDERS = ("functions", "shared", "local")
_SHORT, _LONG = 1_000, 4_000
_WORST_RATIO = 9.0
# Below it the clock and the interpreter are what is measured.
_FLOOR_SECONDS = 0.01
# Of each length, where a ratio is taken: ten ticks of the coarsest clock.
_MEASURED_SECONDS = 0.1
_HANG_SECONDS = 10.0
_TRIES = 4


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression of the source and the ways in which it is applied."""

    place: str
    pattern: re.Pattern[Any]
    methods: frozenset[str]

    def __str__(self) -> str:
        return self.place


def read_expressions() -> Iterator[Expression]:
    """Yield every expression: compiled at a module's top, or given to re's functions."""
    for folder in _FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            source = path.read_text("utf-8")
            if "re." not in source:
                continue
            tree = ast.parse(source)
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield from _given_to_functions(tree, name)
            if any(_is_compile(node) for node in ast.walk(tree)):
                yield from _compiled(tree, name)


def _is_compile(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "re.compile"


def _given_to_functions(tree: ast.Module, module: str) -> Iterator[Expression]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if ast.unparse(node.func.value) != "re" or node.func.attr in ("compile", "escape"):
            continue
        first = node.args[0]
        if isinstance(first, ast.Constant):
            place = f"{module}:{node.func.attr}({first.value!r})"
            yield Expression(place, re.compile(first.value), frozenset({node.func.attr}))


def _compiled(tree: ast.Module, name: str) -> Iterator[Expression]:
    methods: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            methods.setdefault(node.value.id, set()).add(node.attr)
    for attribute, value in vars(importlib.import_module(name)).items():
        for index, pattern in enumerate(_patterns_in(value)):
            used = methods.get(attribute, set()) - {"pattern"}
            yield Expression(f"{name}.{attribute}[{index}]", pattern, frozenset(used))


def _patterns_in(value: object) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _patterns_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _patterns_in(item)


EXPRESSIONS = sorted(
    {(e.place, e.pattern): e for e in read_expressions()}.values(), key=lambda e: e.place
)


def example(tree: Any) -> str:
    """Return a short text that the parsed expression *tree* matches, its assertions left out."""
    text = ""
    for code, value in tree:
        if code is codes.LITERAL:
            text += chr(value)
        elif code is codes.NOT_LITERAL:
            text += "a" if value != ord("a") else "b"
        elif code is codes.ANY:
            text += "a"
        elif code is codes.IN:
            text += _member(value)
        elif code is codes.BRANCH:
            text += example(value[1][0])
        elif code is codes.SUBPATTERN:
            text += example(value[3])
        elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            text += example(value[2]) * max(1, value[0])
    return text


_CATEGORIES = {
    codes.CATEGORY_DIGIT: "0",
    codes.CATEGORY_NOT_DIGIT: "a",
    codes.CATEGORY_SPACE: " ",
    codes.CATEGORY_NOT_SPACE: "a",
    codes.CATEGORY_WORD: "a",
    codes.CATEGORY_NOT_WORD: "-",
}
_CLASSES = {
    codes.CATEGORY_DIGIT: r"\d",
    codes.CATEGORY_NOT_DIGIT: r"\D",
    codes.CATEGORY_SPACE: r"\s",
    codes.CATEGORY_NOT_SPACE: r"\S",
    codes.CATEGORY_WORD: r"\w",
    codes.CATEGORY_NOT_WORD: r"\W",
}


def _member(members: Any) -> str:
    if members[0][0] is codes.NEGATE:
        pattern = re.compile(_negated(members))
        return next(c for c in "a0 -.,/\n" if pattern.match(c))
    code, value = members[0]
    if code is codes.RANGE:
        return chr(value[0])
    return _CATEGORIES[value] if code is codes.CATEGORY else chr(value)


def _negated(members: Any) -> str:
    """Return the source of a negated class, which re can compile again."""
    inside = ""
    for code, value in members[1:]:
        if code is codes.LITERAL:
            inside += re.escape(chr(value))
        elif code is codes.RANGE:
            inside += f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}"
        elif code is codes.CATEGORY:
            inside += _CLASSES[value]
    return f"[^{inside}]"


def letters(tree: Any) -> Iterator[str]:
    """Yield the characters that *tree* speaks of, one for each class."""
    for code, value in tree:
        if code is codes.LITERAL:
            yield chr(value)
        elif code is codes.IN:
            yield _member(value)
            for member, inner in value:
                if member is codes.LITERAL:
                    yield chr(inner)
        elif code is codes.BRANCH:
            for branch in value[1]:
                yield from letters(branch)
        elif code is codes.SUBPATTERN:
            yield from letters(value[3])
        elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            yield from letters(value[2])
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            yield from letters(value[1])


def attacks(pattern: re.Pattern[Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (before, repeated, after): texts that make a matcher try again and again."""
    source = pattern.pattern
    tree = parser.parse(source.decode("latin-1") if isinstance(source, bytes) else source)
    whole = example(tree)
    own = list(dict.fromkeys([*letters(tree), " ", "a", "0", "\n"]))[:9]
    repeated = dict.fromkeys(
        [*own, *map("".join, product(own[:5], repeat=2)), whole, whole[:-1], whole[1:]]
    )
    for piece in filter(None, repeated):
        for before in dict.fromkeys(("", whole[: max(1, len(whole) // 2)])):
            yield before, piece, "\x01"


def applied(expression: Expression) -> Callable[[Any], object]:
    """Return what applies the expression as the source does, or at every place of the text."""
    pattern = expression.pattern
    if expression.methods and expression.methods <= {"match", "fullmatch"}:
        return pattern.fullmatch if expression.methods == {"fullmatch"} else pattern.match
    return lambda text: sum(1 for _ in pattern.finditer(text))


def seconds_of(apply: Callable[[Any], object], text: Any, at_least: float = 0.0) -> float:
    """
    Return the processor time of one call, by as many calls as take *at_least* seconds in all.

    Some systems count a process's time in ticks of ten milliseconds.
    """
    started, calls, spent = time.process_time(), 0, 0.0
    while not calls or spent < at_least:
        apply(text)
        calls += 1
        spent = time.process_time() - started
    return spent / calls


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    """End what is exponential: re looks for signals while it matches."""

    def give_up(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"still matching after {_HANG_SECONDS} s of processor time")

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, _HANG_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_expression_when_its_text_grows(expression: Expression) -> None:
    """Four times the text never takes nine times as long, whatever is repeated in it."""
    apply = applied(expression)
    is_bytes = isinstance(expression.pattern.pattern, bytes)

    def make(parts: tuple[str, str, str], length: int) -> Any:
        before, piece, after = parts
        text = before + piece * (length // len(piece)) + after
        return text.encode("utf-8") if is_bytes else text

    for parts in attacks(expression.pattern):
        if seconds_of(apply, make(parts, _LONG)) < _FLOOR_SECONDS:
            continue
        # The machine may have been busy with something else: only what always happens counts. The
        # first look is short, because nearly all texts pass it.
        for at_least in (_FLOOR_SECONDS, *[_MEASURED_SECONDS] * (_TRIES - 1)):
            long = seconds_of(apply, make(parts, _LONG), at_least)
            short = seconds_of(apply, make(parts, _SHORT), at_least)
            if long < _FLOOR_SECONDS or long <= _WORST_RATIO * short:
                break
        else:
            pytest.fail(f"{parts}: {_LONG} characters take {long:.3f} s, {_SHORT} {short:.3f} s")


def test_expressions_when_counted() -> None:
    """The source is read: the expressions are those that it is known to have, and more."""
    places = {expression.place.split("[")[0] for expression in EXPRESSIONS}
    assert {
        "functions.query.answering.sanitizer._ADDRESS",
        "functions.ingest.parsing.blocks._WHITE_SPACE",
    } <= places
    assert len(EXPRESSIONS) > 80
