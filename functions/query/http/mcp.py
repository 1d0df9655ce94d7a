"""
The Model Context Protocol: JSON-RPC in, one reply out, no state between requests.

Revision 2026-07-28 says who asks with each request; 2025-11-25 and before begin with "initialize",
which needs no session here. https://modelcontextprotocol.io/specification/2026-07-28/basic. Its own
package takes half a second to import, and most of it is of use to clients and to sessions.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ValidationError
from werkzeug.datastructures import Headers

from shared.version import VERSION

from .problems import ProblemRaised, describe_faults

REVISION = "2026-07-28"
# Revisions that begin with a handshake, newest first.
OLDER_REVISIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
_CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
_SERVER_KEY = "io.modelcontextprotocol/serverInfo"
_SERVER = {"name": "kaydangpt", "title": "KaydangPT", "version": VERSION}
_CAPABILITIES: dict[str, Any] = {"tools": {}}
_TOOLS_TTL_MILLISECONDS = 300_000

_INVALID_REQUEST = -32600
_METHOD_NOT_FOUND = -32601
_INVALID_PARAMS = -32602
_HEADER_MISMATCH = -32020
_UNSUPPORTED_VERSION = -32022


@dataclass(frozen=True, slots=True)
class Tool:
    """
    A tool.

    Attributes:
        arguments: What it takes.
        call: Gives the structured result of valid arguments, and the text that says the same.
    """

    name: str
    title: str
    description: str
    arguments: type[BaseModel]
    call: Callable[[Any], tuple[dict[str, Any], str]]

    def describe(self) -> dict[str, Any]:
        """Return it as a client sees it."""
        schema = self.arguments.model_json_schema()
        schema.pop("title", None)
        schema.pop("description", None)
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": schema,
            "annotations": {"title": self.title, "readOnlyHint": True, "openWorldHint": False},
        }


@dataclass(frozen=True, slots=True)
class Reply:
    """
    The answer to a message.

    Attributes:
        body: None for a message that expects no answer.
    """

    status: HTTPStatus
    body: dict[str, Any] | None = None


class _Failure(Exception):
    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: HTTPStatus = HTTPStatus.BAD_REQUEST,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error: dict[str, Any] = {"code": code, "message": message}
        if data is not None:
            self.error["data"] = data


def answer_message(
    message: Mapping[str, Any],
    *,
    headers: Headers,
    tools: Mapping[str, Tool],
    instructions: str,
) -> Reply:
    """Return the reply to one JSON-RPC message."""
    if "method" not in message and ("result" in message or "error" in message):
        return Reply(HTTPStatus.ACCEPTED)
    number = message.get("id")
    try:
        if message.get("jsonrpc") != "2.0" or not isinstance(message.get("method"), str):
            raise _Failure(_INVALID_REQUEST, "This is not a JSON-RPC 2.0 request.")
        if "id" not in message:
            return Reply(HTTPStatus.ACCEPTED)
        if not isinstance(number, str | int) or isinstance(number, bool):
            number = None
            raise _Failure(_INVALID_REQUEST, "id must be a string or a whole number.")
        params = message.get("params", {})
        if not isinstance(params, dict):
            raise _Failure(_INVALID_PARAMS, "params must be an object.")
        result = _answer(message["method"], params, headers, tools, instructions)
    except _Failure as failure:
        body: dict[str, Any] = {"jsonrpc": "2.0", "error": failure.error}
        return Reply(failure.status, body | ({} if number is None else {"id": number}))
    return Reply(HTTPStatus.OK, {"jsonrpc": "2.0", "id": number, "result": result})


def _answer(
    method: str,
    params: dict[str, Any],
    headers: Headers,
    tools: Mapping[str, Tool],
    instructions: str,
) -> dict[str, Any]:
    modern = _is_modern(method, params, headers)
    if not modern and method == "initialize":
        wanted = params.get("protocolVersion")
        return {
            "protocolVersion": wanted if wanted in OLDER_REVISIONS else OLDER_REVISIONS[0],
            "capabilities": _CAPABILITIES,
            "serverInfo": _SERVER,
            "instructions": instructions,
        }
    if not modern and method == "ping":
        return {}
    result: dict[str, Any]
    if modern and method == "server/discover":
        result = {
            "supportedVersions": [REVISION, *OLDER_REVISIONS],
            "capabilities": _CAPABILITIES,
            "instructions": instructions,
            "ttlMs": _TOOLS_TTL_MILLISECONDS,
            "cacheScope": "public",
        }
    elif method == "tools/list":
        result = {"tools": [tool.describe() for tool in tools.values()]}
        if modern:
            result |= {"ttlMs": _TOOLS_TTL_MILLISECONDS, "cacheScope": "public"}
    elif method == "tools/call":
        result = _call(params, tools)
    else:
        status = HTTPStatus.NOT_FOUND if modern else HTTPStatus.OK
        raise _Failure(_METHOD_NOT_FOUND, f"There is no method {method[:100]}.", status=status)
    if modern:
        result |= {"resultType": "complete", "_meta": {_SERVER_KEY: _SERVER}}
    return result


def _is_modern(method: str, params: dict[str, Any], headers: Headers) -> bool:
    """Return whether a request says itself who asks, and refuse it where it contradicts itself."""
    meta = params.get("_meta")
    meta = meta if isinstance(meta, dict) else {}
    named = headers.get("MCP-Protocol-Version")
    version = meta.get(_VERSION_KEY)
    if version is None and named != REVISION:
        if named is not None and named not in OLDER_REVISIONS and method != "initialize":
            raise _unsupported(named)
        return False
    if version is None:
        raise _Failure(_INVALID_PARAMS, f"_meta must have {_VERSION_KEY}.")
    if version != named:
        raise _mismatch("MCP-Protocol-Version", "the version in _meta")
    if version != REVISION:
        raise _unsupported(version)
    if not isinstance(meta.get(_CAPABILITIES_KEY), dict):
        raise _Failure(_INVALID_PARAMS, f"_meta must have {_CAPABILITIES_KEY}.")
    if headers.get("Mcp-Method") != method:
        raise _mismatch("Mcp-Method", "method")
    if method == "tools/call" and _decode(headers.get("Mcp-Name", "")) != params.get("name"):
        raise _mismatch("Mcp-Name", "params.name")
    return True


def _decode(value: str) -> str | None:
    if not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    try:
        return base64.b64decode(value[9:-2], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _unsupported(version: object) -> _Failure:
    return _Failure(
        _UNSUPPORTED_VERSION,
        "Unsupported protocol version",
        data={"supported": [REVISION, *OLDER_REVISIONS], "requested": str(version)[:100]},
    )


def _mismatch(header: str, field: str) -> _Failure:
    return _Failure(_HEADER_MISMATCH, f"Header mismatch: {header} is not {field} of the request")


def _call(params: dict[str, Any], tools: Mapping[str, Tool]) -> dict[str, Any]:
    name = params.get("name")
    tool = tools.get(name) if isinstance(name, str) else None
    if tool is None:
        raise _Failure(
            _INVALID_PARAMS, f"There is no tool {str(name)[:100]}.", status=HTTPStatus.OK
        )
    # What is wrong with a call is for the model that made it: it can call again.
    try:
        arguments = tool.arguments.model_validate(params.get("arguments") or {})
        structured, text = tool.call(arguments)
    except ValidationError as error:
        faults = "; ".join(f"{fault.field} {fault.message}" for fault in describe_faults(error))
        return _result(f"The arguments are wrong: {faults}", is_error=True)
    except ProblemRaised as error:
        return _result(f"{error.problem.code}: {error.problem.detail}", is_error=True)
    return _result(text, is_error=False) | {"structuredContent": structured}


def _result(text: str, *, is_error: bool) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "isError": is_error}
