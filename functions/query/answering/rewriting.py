"""The stage that makes a follow-up question stand alone: by Gemini, else by rule."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from shared.errors import GenerationUnavailable
from shared.gemini.requests import Usage
from shared.language import UNSPACED

from .generation import Gemini
from .journal import Journal
from .prompt import make_rewriting_prompt, read_rewriting
from .query import Query, RewrittenQuery

# Words that point back: a question that holds one early means what was said before. Languages of
# the page and their neighbours; any other language is served by the rule of length.
_POINTING = frozenset(
    word
    for words in (
        "he she it they him her them his hers its their theirs this that these those there then",
        "and but so why also one ones former latter same else",
        "er sie es ihn ihm ihnen ihr ihre sein seine dies diese dieser dieses das dort dann und",
        "aber warum auch",
        "él ella ello ellos ellas su sus esto esta este estos estas eso esa ese allí entonces y",
        "pero il elle ils elles leur leurs son sa ses ce cet cette ces cela ça là alors et mais",
        "pourquoi nó họ đó này kia ấy đây thế còn vậy ông bà anh cô",
    )
    for word in words.split()
)
_SHORT_WORDS = 4
_MAX_TURNS_BACK = 3
_MAX_CHARACTERS = 1_000
_WORD = re.compile(r"\w+")


def rewrite(query: Query, *, gemini: Gemini | None, journal: Journal) -> RewrittenQuery:
    """Return the question of *query*, with what it means of the conversation before it."""
    if not query.turns:
        return RewrittenQuery(query.question)
    with journal.stage("rewrite"):
        usage = Usage()
        if gemini is not None:
            boundary = secrets.token_hex(8)
            prompt = make_rewriting_prompt(query.question, query.turns, boundary=boundary)
            try:
                text, usage = gemini.rewrite(prompt)
            except GenerationUnavailable:
                text = ""  # the rule below serves, and the answer itself will name the failure
            rewritten = read_rewriting(text)
            earlier = [content for _role, content in query.turns]
            if rewritten is not None and is_sound_rewriting(
                rewritten, question=query.question, earlier=earlier
            ):
                return RewrittenQuery(rewritten, "gemini", usage)
        earlier_questions = [content for role, content in query.turns if role == "user" and content]
        question = stand_alone(query.question, earlier_questions)
        return RewrittenQuery(question, "none" if question == query.question else "rule", usage)


def points_back(question: str) -> bool:
    """Return whether *question* seems to need what was said before."""
    words = [word.casefold() for word in _WORD.findall(question)]
    if UNSPACED.search(question):
        return len(question.strip()) <= 3 * _SHORT_WORDS
    return len(words) <= _SHORT_WORDS or any(word in _POINTING for word in words)


def stand_alone(question: str, earlier_questions: Sequence[str]) -> str:
    """
    Return *question* with the questions before it that it seems to need, oldest first.

    Args:
        earlier_questions: What the user asked before, oldest first.
    """
    parts = [question]
    for earlier in reversed(earlier_questions[-_MAX_TURNS_BACK:]):
        if not points_back(parts[0]) or len(earlier) + len(question) > _MAX_CHARACTERS:
            break
        parts.insert(0, earlier)
    return " ".join(parts)


def is_sound_rewriting(rewritten: str, *, question: str, earlier: Sequence[str]) -> bool:
    """
    Return whether a model's *rewritten* question can be searched for.

    A model that answers instead of rewriting, or obeys what an earlier answer quoted, is caught
    by its marks, its length, or by sharing no word with what was said.
    """
    if not 0 < len(rewritten) <= 600 or "\n" in rewritten or re.search(r"\[\d+\]|://", rewritten):
        return False
    said = " ".join([question, *earlier]).casefold()
    words = {word.casefold() for word in _WORD.findall(rewritten) if len(word) > 2}
    return bool(UNSPACED.search(rewritten)) or any(word in said for word in words)
