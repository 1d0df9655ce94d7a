"""
The command that serves the documents to an agent on this machine: standard input to HTTP and back.

Desktop agents start it and speak the Model Context Protocol by lines. Each goes to /mcp as it is,
and what comes back is printed, so that the service alone knows the protocol.
https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/stdio
"""

from __future__ import annotations

import base64
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click
import requests

from admin.service import ServiceSettings
from admin.terminal import one_sentence
from shared.settings import load

_TIMEOUT_SECONDS = (5, 120)
_AT_ONCE = 8
_INTERNAL_ERROR = -32603
_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"


@click.command()
def mcp() -> None:
    """
    Serve the documents of QUERY_URL to an agent that starts this command.

    QUERY_TOKEN is the key or identity token that it asks with. Ends when its input ends.
    """
    with one_sentence():
        settings: ServiceSettings = load(ServiceSettings)
    token = settings.query_token.get_secret_value()
    bridge = _Bridge(settings.query_url.rstrip("/") + "/mcp", token=token)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for line in sys.stdin:
            if not line.strip():
                continue
            try:
                message = json.loads(line)
            except ValueError:
                bridge.write_error(None, "This line is not JSON.", code=-32700)
                continue
            if isinstance(message, dict) and message.get("method") == "initialize":
                # What comes after it depends on it.
                bridge.forward(message)
            else:
                threads.submit(bridge.forward, message)


class _Bridge:
    """Sends messages to the service; threads share it."""

    def __init__(self, url: str, *, token: str) -> None:
        self._url = url
        self._headers = {"Accept": "application/json, text/event-stream"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._version = ""
        self._lock = threading.Lock()

    def forward(self, message: Any) -> None:
        """Send one message and write what comes back, if it asks for an answer."""
        number = message.get("id") if isinstance(message, dict) else None
        try:
            response = requests.post(
                self._url,
                json=message,
                headers=self._headers | self._describe(message),
                timeout=_TIMEOUT_SECONDS,
            )
            body = response.json() if response.content else None
        except (requests.RequestException, ValueError) as error:
            self._fail(number, f"{self._url} (QUERY_URL) does not answer: {type(error).__name__}")
            return
        if not isinstance(body, dict) or "jsonrpc" not in body:
            if response.status_code >= requests.codes.bad_request:
                detail = body.get("detail") if isinstance(body, dict) else response.reason
                self._fail(number, f"{self._url} answered {response.status_code}: {detail}")
            return
        result = body.get("result")
        if isinstance(result, dict) and isinstance(result.get("protocolVersion"), str):
            self._version = result["protocolVersion"]
        self._write(body)

    def write_error(self, number: Any, message: str, *, code: int) -> None:
        """Write an error of JSON-RPC."""
        body: dict[str, Any] = {"jsonrpc": "2.0", "error": {"code": code, "message": message}}
        self._write(body if number is None else body | {"id": number})

    def _fail(self, number: Any, message: str) -> None:
        print(message, file=sys.stderr)
        if number is not None:
            self.write_error(number, message, code=_INTERNAL_ERROR)

    def _describe(self, message: Any) -> dict[str, str]:
        """Return the headers that say again what stands in the message."""
        if not isinstance(message, dict):
            return {}
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        meta = params.get("_meta")
        version = meta.get(_VERSION_KEY) if isinstance(meta, dict) else None
        named = {
            "MCP-Protocol-Version": version or self._version,
            "Mcp-Method": message.get("method"),
            "Mcp-Name": params.get("name"),
        }
        return {
            header: _encode(value)
            for header, value in named.items()
            if isinstance(value, str) and value
        }

    def _write(self, body: dict[str, Any]) -> None:
        with self._lock:
            print(json.dumps(body, ensure_ascii=True), flush=True)


def _encode(value: str) -> str:
    if value.isascii() and value.isprintable() and value == value.strip():
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="
