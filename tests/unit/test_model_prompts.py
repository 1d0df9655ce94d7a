"""Which prompts an exported model gets: given ones, its configuration's, or its family's."""

from __future__ import annotations

import pytest

from infra.model.prompts import GivenPrompts, choose_prompts, warn_of_prompts

NOTHING = GivenPrompts()


@pytest.mark.parametrize(
    ("name", "query", "document"),
    [
        ("intfloat/multilingual-e5-small", "query: ", "passage: "),
        ("multilingual-e5-small", "query: ", "passage: "),
        ("intfloat/e5-base-v2", "query: ", "passage: "),
        (
            "BAAI/bge-small-en-v1.5",
            "Represent this sentence for searching relevant passages: ",
            "",
        ),
        ("nomic-ai/nomic-embed-text-v1.5", "search_query: ", "search_document: "),
        (
            "Snowflake/snowflake-arctic-embed-m",
            "Represent this sentence for searching relevant passages: ",
            "",
        ),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", "query: ", ""),
        ("thenlper/gte-base", "", ""),
        ("BAAI/bge-m3", "", ""),
        ("sentence-transformers/all-MiniLM-L6-v2", "", ""),
    ],
)
def test_known_family_has_its_prompts(name: str, query: str, document: str) -> None:
    """A model that says nothing of prompts is embedded as its authors do, without a warning."""
    prompts = choose_prompts(name, {"query": "", "document": None}, NOTHING)
    assert prompts == {"query": query, "document": document}
    assert warn_of_prompts(name, prompts) is None


@pytest.mark.parametrize(
    "name", ["intfloat/multilingual-e5-large-instruct", "Qwen/Qwen3-Embedding-0.6B"]
)
def test_instructed_family_asks_by_an_instruction(name: str) -> None:
    """These read an instruction before the question, and documents as they are."""
    prompts = choose_prompts(name, {}, NOTHING)
    assert prompts["query"].startswith("Instruct: ")
    assert prompts["document"] == ""


def test_configuration_goes_before_the_family() -> None:
    """What the model itself says is kept whole, even if one of the two is empty."""
    prompts = choose_prompts("e5-small", {"query": "ask: "}, NOTHING)
    assert prompts == {"query": "ask: ", "document": ""}


def test_given_prompt_goes_before_all() -> None:
    """An option counts even if it is empty; what is not given stays."""
    given = GivenPrompts(query="", document="text: ")
    assert choose_prompts("x", {"query": "ask: "}, given) == {"query": "", "document": "text: "}
    assert choose_prompts("e5-small", {}, GivenPrompts(query="q: "))["document"] == "passage: "


@pytest.mark.parametrize(
    ("name", "given"), [("BAAI/bge-code-v1", NOTHING), ("e5-small", GivenPrompts("", ""))]
)
def test_known_family_without_prompts_is_a_warning(name: str, given: GivenPrompts) -> None:
    """A model that finds less without prompts does not lose them in silence."""
    warning = warn_of_prompts(name, choose_prompts(name, {}, given))
    assert warning is not None
    assert "--query-prompt" in warning
