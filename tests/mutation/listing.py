"""
List mutants of modules as JSON: each the module with one place changed.

Of Python they are cosmic-ray's; this runs where that is installed, so that nothing of ours is
imported. Of SQL, which cosmic-ray leaves alone, they are changed operators and dropped conditions.

    python listing.py COUNT PATH:LINE,... FILE...
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

# One of those that put another operator into the place of the same one says enough.
_OPERATORS = re.compile(
    r"core/(AddNot|Number.*|ReplaceOrWithAnd|ReplaceAndWithOr|ReplaceUnary.*Not|ReplaceTrue.*"
    r"|ReplaceFalse.*|ReplaceContinue.*|ReplaceBreak.*|ZeroIteration.*"
    r"|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|Mod_Mul|Pow_Mul|BitOr_BitAnd"
    r"|BitAnd_BitOr|FloorDiv_Mul|LShift_RShift)"
    r"|ReplaceComparisonOperator_(Eq_NotEq|NotEq_Eq|Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Is_IsNot|IsNot_Is"
    r"|In_NotIn|NotIn_In))"
)
_STATEMENT = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE)\b")
_SQL = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<= )<=(?= )", "<"),
        (r"(?<= )>=(?= )", ">"),
        (r"(?<= )<(?= )", "<="),
        (r"(?<= )>(?= )", ">="),
        (r"(?<= )<>(?= )", "="),
        (r"\bAND (?!CONFLICT)[^\n]+(?=\n)", ""),
        (r"\bAND\b", "OR"),
        (r"\bOR\b(?! REPLACE)", "AND"),
        (r"\bNOT EXISTS\b", "EXISTS"),
        (r"\bIS NULL\b", "IS NOT NULL"),
        (r"\bIS NOT NULL\b", "IS NULL"),
        (r"\bIS NOT DISTINCT FROM\b", "IS DISTINCT FROM"),
        (r"(?<=WHERE )([^\n=]+) = ", r"\1 <> "),
        (r"(?<=AND )([^\n=]+) = ", r"\1 <> "),
        (r"(?<= )\+(?= )", "-"),
        (r"(?<= )-(?= )", "+"),
        (r"\bDESC\b", "ASC"),
        (r"\bFOR (NO KEY )?UPDATE\b", ""),
        (r"\bSKIP LOCKED\b", ""),
        (r"\bDISTINCT (?=\w)", ""),
        (r"\bgreatest\b", "least"),
        (r"'ready'", "'failed'"),
        (r"\btrue\b", "false"),
        (r"\bfalse\b", "true"),
    )
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """
    A changed module.

    Attributes:
        line: Where it differs.
        functions: The qualified names of those that the line is a part of.
        source: The whole of it.
    """

    path: str
    line: int
    change: str
    functions: list[str]
    source: str


# Makes the changed source; only a sample is made.
Make = Callable[[], str | None]


def _find_sql(source: str) -> Iterator[tuple[int, str, Make]]:
    """Yield line, change and what makes it for each place in the SQL of a module."""
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    data = source.encode()
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            continue
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        text = data[begin:end].decode()
        if not _STATEMENT.search(text):
            continue
        for pattern, replacement in _SQL:
            for found in pattern.finditer(text):
                new = found.expand(replacement)
                whole = (
                    data[:begin]
                    + (text[: found.start()] + new + text[found.end() :]).encode()
                    + data[end:]
                )
                number = node.lineno + text[: found.start()].count("\n")
                said = f"{' '.join(found[0].split())} -> {new or 'nothing'}"
                yield number, said, whole.decode


def _find_python(source: str) -> Iterator[tuple[int, str, Make]]:
    """Yield the same for cosmic-ray's operators, but for what no test is to notice."""
    passed_over = list(_find_passed_over(source))
    tree = get_ast(source)
    for name in operator_names():
        if not _OPERATORS.fullmatch(name):
            continue
        operator = get_operator(name)()
        places = [place for node in ast_nodes(tree) for place in operator.mutation_positions(node)]
        for occurrence, (begin, _end) in enumerate(places):
            if not any(first <= begin < last for first, last in passed_over):
                make = partial(mutate_code, source, operator, occurrence)
                yield begin[0], name.removeprefix("core/"), make


# The names that a module's logger goes by, and what raises nothing but a message.
_LOGGERS = frozenset({"log", "logger", "logging", "warnings"})


def _find_passed_over(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield begin and end of annotations, decorators, bounds, and the texts of errors and logs."""
    for node in ast.walk(ast.parse(source)):
        found: list[ast.expr] = []
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found += node.decorator_list
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            found += [each.annotation for each in arguments if each.annotation is not None]
            found += [node.returns] if node.returns is not None else []
            if node.args.kwonlyargs:
                # The star before them is no product.
                first = node.args.kwonlyargs[0]
                ahead: list[ast.arg | ast.expr] = [*node.args.posonlyargs, *node.args.args]
                ahead += node.args.defaults
                ends = [(one.end_lineno or 0, one.end_col_offset or 0) for one in ahead]
                begin = max([(node.lineno, node.col_offset), *ends])
                yield begin, (first.lineno, first.col_offset)
        if isinstance(node, ast.AnnAssign):
            found.append(node.annotation)
        if isinstance(node, ast.Module):
            # One more or less of a bound is no other behaviour.
            found += [
                each.value
                for each in node.body
                if isinstance(each, ast.Assign) and _is_number(each.value)
            ]
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            found += [each for each in node.exc.args if isinstance(each, ast.JoinedStr)]
        if isinstance(node, ast.Expr) and _is_log(node.value):
            found.append(node.value)
        for one in found:
            assert one.end_lineno is not None
            assert one.end_col_offset is not None
            yield (one.lineno, one.col_offset), (one.end_lineno, one.end_col_offset)


def _is_number(node: ast.expr) -> bool:
    parts = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop)
    return all(isinstance(one, parts) for one in ast.walk(node))


def _is_log(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id.strip("_").lower() in _LOGGERS
    )


def list_places(paths: Sequence[str]) -> list[tuple[str, int, str, Make]]:
    """Return all places of the modules that can be changed, in the order of their lines."""
    places = []
    for path in paths:
        source = Path(path).read_text(encoding="utf-8")
        found = [*_find_python(source), *_find_sql(source)]
        found.sort(key=lambda one: one[:2])
        places += [(path, *one) for one in found]
    return places


def find_functions(path: str, line: int) -> list[str]:
    """
    Return the qualified names of the functions that *line* is a part of.

    That is the innermost one around it; for a constant of the module, those that name it.
    """
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    functions = dict(_name_functions(tree.body))
    around = [name for name, node in functions.items() if _holds(node, line)]
    if around:
        return [max(around, key=lambda name: functions[name].lineno)]
    names = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and _holds(node, line)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in tree.body:
        # Constants are made of others.
        if isinstance(node, ast.Assign) and names & _named(node.value):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return [name for name, node in functions.items() if names & _named(node)]


def _name_functions(
    nodes: Sequence[ast.stmt], within: str = ""
) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            yield within + node.name, node
            yield from _name_functions(node.body, f"{within}{node.name}.<locals>.")
        elif isinstance(node, ast.ClassDef):
            yield from _name_functions(node.body, f"{within}{node.name}.")


def _holds(node: ast.stmt, line: int) -> bool:
    return node.lineno <= line <= (node.end_lineno or node.lineno)


def _named(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


if __name__ == "__main__":
    everything = list_places(sys.argv[3:])
    if at := tuple(filter(None, sys.argv[2].split(","))):
        chosen = [one for one in everything if f"{one[0]}:{one[1]}".endswith(at)]
    else:
        count = min(int(sys.argv[1]), len(everything))
        # Evenly, whatever the module.
        chosen = [everything[step * len(everything) // count] for step in range(count)]
    sample = [
        asdict(Mutant(path, line, change, find_functions(path, line), source))
        for path, line, change, make in chosen
        if (source := make()) is not None
    ]
    json.dump({"all": len(everything), "sample": sample}, sys.stdout)
