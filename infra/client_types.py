"""
Write the types of the Python client from the API document.

    python -m infra.client_types

The document is made by the code that answers, so the client cannot say anything else: a test runs
this again and compares.
"""

from __future__ import annotations

import keyword
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent.parent / "kaydangpt_client/types.py"

# What the client takes and returns; what these refer to comes along.
_ROOTS = (
    "QueryRequest",
    "QueryResponse",
    "RetrieveResponse",
    "StepEvent",
    "DoneEvent",
    "FeedbackResponse",
    "DocumentsResponse",
    "CollectionsResponse",
    "FacetsResponse",
    "TextResponse",
    "OriginalResponse",
    "AcceptedResponse",
    "ReadyResponse",
    "TablesResponse",
    "TableQueryRequest",
    "TableQueryResponse",
)
_HEADER = '''"""
What goes to the service and what comes back, as /openapi.json describes it.

Written by `python -m infra.client_types`; do not edit.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict
'''
_PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_WIDTH = 96


def main() -> None:
    """Write the file."""
    FILE.write_text(format_code(write_types(read_document())))


def read_document() -> dict[str, Any]:
    """Return the API document; no database is asked for it."""
    # Only this command needs it: the build's other modules know no function.
    from unittest import mock

    from functions.query.http.openapi import make_document
    from functions.query.http.routes import create_app
    from functions.query.settings import QuerySettings

    settings = QuerySettings.model_validate({"database_url": "postgresql://", "model_dir": "."})
    return make_document(create_app(mock.Mock(settings=settings)))


def format_code(code: str) -> str:
    """Return *code* as `make format` would leave it."""
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(FILE), "-"],
        input=code,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def write_types(document: Mapping[str, Any]) -> str:
    """Return the module that holds the types of *document*."""
    schemas = document["components"]["schemas"]
    reached: dict[str, Any] = {}
    left = list(_ROOTS)
    while left:
        name = left.pop()
        if name not in reached:
            reached[name] = schemas[name]
            left += _references(schemas[name])
    types, aliases = [], []
    for name in sorted(reached):
        schema = reached[name]
        choices = schema.get("anyOf")
        if choices is None:
            types.append(_typed_dict(name, schema))
            continue
        operators = next(item for item in choices if "properties" in item)
        types.append(_typed_dict(f"{name}Operators", operators | {"description": ""}))
        plain = [_type_of(item) for item in choices if item is not operators]
        aliases.append(f"{name} = {' | '.join([*plain, f'{name}Operators'])}\n")
    return "\n\n".join([_HEADER, *types, "".join(aliases)])


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if "$ref" in schema:
            yield schema["$ref"].rpartition("/")[2]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _typed_dict(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", [])
    fields = {}
    for field, described in schema.get("properties", {}).items():
        kind = _type_of(described)
        fields[field] = kind if field in required else f"NotRequired[{kind}]"
    if any(keyword.iskeyword(field) for field in fields):
        # Such a name can only be written as text.
        pairs = "".join(f'"{field}": "{kind}", ' for field, kind in fields.items())
        return f"{name} = TypedDict({name!r}, {{{pairs}}})\n"
    lines = [f"class {name}(TypedDict):"]
    if text := schema.get("description", ""):
        lines.append(textwrap.indent(_docstring(text), "    ") + "\n")
    for field, kind in fields.items():
        about = schema["properties"][field].get("description", "")
        lines += [f"    # {line}" for line in textwrap.wrap(about, _WIDTH - 6)]
        lines.append(f"    {field}: {kind}")
    return "\n".join(lines) + "\n"


def _docstring(text: str) -> str:
    paragraphs = [textwrap.fill(part, _WIDTH - 4) for part in text.split("\n\n")]
    if len(paragraphs) == 1 and "\n" not in paragraphs[0]:
        return f'"""{paragraphs[0]}"""'
    return '"""\n' + "\n\n".join(paragraphs) + '\n"""'


def _type_of(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        kinds = [_type_of(item) for item in schema["anyOf"]]
        return " | ".join(dict.fromkeys(part for kind in kinds for part in kind.split(" | ")))
    if "const" in schema:
        return f"Literal[{schema['const']!r}]"
    if "enum" in schema:
        return f"Literal[{', '.join(repr(value) for value in schema['enum'])}]"
    kind = schema.get("type")
    if kind == "array":
        return f"list[{_type_of(schema['items'])}]"
    if kind == "object":
        return f"dict[str, {_values_of(schema)}]"
    return _PLAIN[str(kind)] if kind else "Any"


def _values_of(schema: Mapping[str, Any]) -> str:
    described = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
    kinds = [_type_of(values) for values in described if isinstance(values, Mapping)]
    return kinds[0] if kinds else "Any"


if __name__ == "__main__":
    main()
