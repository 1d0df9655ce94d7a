"""What docs/agents.md tells its readers to write, read by the official clients as it stands."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from typing import Any

import httpx2
import openai
import pytest
import yaml  # type: ignore[import-untyped]
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from local.system import ROOT, System

PAGE = (ROOT / "docs/agents.md").read_text()
QUESTION = "When was the Eiffel Tower finished?"


def block(language: str, holding: str, system: System) -> str:
    """Return the one block of the page that holds a text, with this system's address."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (found,) = [text for kind, text in blocks if kind == language and holding in text]
    return str(found).replace("https://SERVICE", system.query_url)


@pytest.fixture(scope="module", autouse=True)
def document(system: System) -> None:
    """Upload what the examples ask about."""
    text = "The Eiffel Tower stands in Paris. It was finished in 1889."
    # The name that docs/client.md gives it, whose examples ask the same system.
    system.wait_for("guides/paris.txt", generation=system.upload("guides/paris.txt", text))


async def ask(transport: Any) -> str:
    async with Client(transport) as client:
        answer = await client.call_tool(
            "ask", {"question": QUESTION, "filter": {"collection": "guides"}}
        )
        return str(answer.content)


def test_gemini_cli(system: System) -> None:
    """The address and the header of its settings open the service to an agent."""
    settings = json.loads(block("json", "httpUrl", system))["mcpServers"]["documents"]

    async def run() -> str:
        async with httpx2.AsyncClient(headers=settings["headers"], timeout=30) as http:
            return await ask(streamable_http_client(settings["httpUrl"], http_client=http))

    assert "1889" in asyncio.run(run())


def test_claude_code(system: System) -> None:
    """Its command line names the address that the service answers on."""
    line = block("sh", "claude mcp add", system)
    assert re.search(r"--transport http documents (\S+)", line)
    assert f" {system.query_url}/mcp " in line


def test_claude_desktop(system: System) -> None:
    """The command that its configuration starts speaks by lines."""
    settings = json.loads(block("json", "command", system))["mcpServers"]["documents"]
    command = settings["command"].replace("/path/to/checkout", str(ROOT))
    transport = StdioServerParameters(
        command=command, args=settings["args"], env=settings["env"], cwd="/"
    )
    assert "1889" in asyncio.run(ask(transport))


def test_agent_development_kit(system: System) -> None:
    """It is Python, and names the address and the header as the kit's parameters do."""
    example = block("python", "LlmAgent", system)
    compile(example, "docs/agents.md", "exec")
    assert f'url="{system.query_url}/mcp"' in example


def test_openai(system: System) -> None:
    """The example prints the answer."""
    done = subprocess.run(
        [sys.executable, "-c", block("python", "openai.OpenAI", system)],
        env=os.environ | {"NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1889" in done.stdout


def test_open_webui(system: System) -> None:
    """The variables of its container are those of a service that lists its models."""
    variables = dict(re.findall(r"--env (\w+)=(\S+)", block("sh", "open-webui", system)))
    assert _answer(variables["OPENAI_API_BASE_URL"], variables["OPENAI_API_KEY"], "kaydangpt")


def test_librechat(system: System) -> None:
    """Its endpoint has an address, a key, and a default model that is there."""
    (endpoint,) = yaml.safe_load(block("yaml", "baseURL", system))["endpoints"]["custom"]
    (model,) = endpoint["models"]["default"]
    assert _answer(endpoint["baseURL"], endpoint["apiKey"], model)


def _answer(base_url: str, key: str, model: str) -> bool:
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        assert model in [each.id for each in client.models.list()]
        completion = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": QUESTION}],
            extra_body={"filter": {"collection": "guides"}},
        )
    return "1889" in (completion.choices[0].message.content or "")
