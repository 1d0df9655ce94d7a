"""What a model wants to read before a question and before a document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# The names that sentence-transformers looks for, in its order.
_DOCUMENT_NAMES = ("document", "passage", "corpus")
_BGE_QUERY = "Represent this sentence for searching relevant passages: "
_WEB_QUERY = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)


@dataclass(frozen=True, slots=True)
class Family:
    """
    Models of one make.

    Attributes:
        pattern: Found in the lower-case name of each.
        query, document: What its authors put before both, as *source* says.
        prompted: False if the authors use no prompts.
    """

    pattern: str
    source: str
    query: str = ""
    document: str = ""
    prompted: bool = True


# The first that matches counts: variants stand before the rest of their family, and a family's rest
# has no prompts of which we could be sure.
FAMILIES = (
    Family(
        r"\be5-(.+-)?instruct\b",
        "https://huggingface.co/intfloat/multilingual-e5-large-instruct",
        query=_WEB_QUERY + " ",
    ),
    Family(
        r"\be5-(small|base|large)\b",
        "https://huggingface.co/intfloat/multilingual-e5-small",
        query="query: ",
        document="passage: ",
    ),
    Family(r"\be5-", "https://huggingface.co/intfloat"),
    Family(
        r"\bbge-(small|base|large)-en\b",
        "https://huggingface.co/BAAI/bge-small-en-v1.5",
        query=_BGE_QUERY,
    ),
    Family(
        r"\bbge-(small|base|large)-zh\b",
        "https://huggingface.co/BAAI/bge-small-zh-v1.5",
        query="\u4e3a\u8fd9\u4e2a\u53e5\u5b50\u751f\u6210\u8868\u793a\u4ee5\u7528\u4e8e\u68c0\u7d22\u76f8\u5173\u6587\u7ae0\uff1a",
    ),
    Family(r"\bbge-m3\b", "https://huggingface.co/BAAI/bge-m3", prompted=False),
    Family(r"\bbge-", "https://huggingface.co/BAAI"),
    Family(
        r"\bnomic-embed-text-v",
        "https://huggingface.co/nomic-ai/nomic-embed-text-v1.5",
        query="search_query: ",
        document="search_document: ",
    ),
    Family(r"\bnomic-embed-", "https://huggingface.co/nomic-ai"),
    Family(
        r"\bsnowflake-arctic-embed-[a-z]-v2",
        "https://huggingface.co/Snowflake/snowflake-arctic-embed-m-v2.0",
        query="query: ",
    ),
    Family(
        r"\bsnowflake-arctic-embed-",
        "https://huggingface.co/Snowflake/snowflake-arctic-embed-m",
        query=_BGE_QUERY,
    ),
    Family(
        r"\bgte-qwen2-.+-instruct\b",
        "https://huggingface.co/Alibaba-NLP/gte-Qwen2-1.5B-instruct",
        query=_WEB_QUERY + " ",
    ),
    Family(r"\bgte-", "https://huggingface.co/thenlper/gte-base", prompted=False),
    Family(
        r"\bqwen3-embedding\b",
        "https://huggingface.co/Qwen/Qwen3-Embedding-0.6B",
        query=_WEB_QUERY,
    ),
)


@dataclass(frozen=True, slots=True)
class GivenPrompts:
    """What a person asked for; None if nothing was said, "" if no prompt is wanted."""

    query: str | None = None
    document: str | None = None


def choose_prompts(
    name: str, configured: Mapping[str, str | None], given: GivenPrompts
) -> dict[str, str]:
    """Return what stands before a question and a document: given, configured, or the family's."""
    query = configured.get("query") or ""
    document = next((prompt for key in _DOCUMENT_NAMES if (prompt := configured.get(key))), "")
    family = find_family(name)
    # One of both may be empty by intent: only if there are none at all, the model says nothing.
    if family is not None and not query and not document:
        query, document = family.query, family.document
    return {
        "query": query if given.query is None else given.query,
        "document": document if given.document is None else given.document,
    }


def find_family(name: str) -> Family | None:
    """Return the make of the model *name*, if it is one that we know."""
    lowered = name.lower().replace("_", "-")
    return next((family for family in FAMILIES if re.search(family.pattern, lowered)), None)


def warn_of_prompts(name: str, prompts: Mapping[str, str]) -> str | None:
    """Return what a person should know where a model that needs prompts goes without."""
    family = find_family(name)
    if family is None or not family.prompted or prompts["query"] or prompts["document"]:
        return None
    return (
        f"{name} is exported without prompts, and models of its family find less without: see"
        f" {family.source}, and give them by --query-prompt and --document-prompt"
    )
