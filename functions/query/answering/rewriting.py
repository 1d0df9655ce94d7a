"""The stage that makes a follow-up question stand alone: by Gemini, else by rule."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from shared.errors import GenerationUnavailable
from shared.gemini.requests import Usage
from shared.language import UNSPACED
from shared.values import Hit

from .generation import Gemini
from .journal import Journal
from .prompt import make_rewriting_prompt, read_rewriting
from .query import Query, RewrittenQuery

# Words that point back: a question that holds one without naming what it means needs what was said
# before. In the languages of the page and their neighbours.
_POINTING = frozenset(
    word
    for words in (
        "he she it they him her them his hers its their theirs this that these those there then",
        "former latter one ones same",
        "er sie es ihn ihm ihnen ihr ihre sein seine dies diese dieser dieses das dort",
        "él ella ello ellos ellas su sus esto esta este estos estas eso esa ese allí",
        "il elle ils elles leur leurs son sa ses ce cet cette ces cela ça là",
        "egli lui lei esso essa loro suo sua questo questa quello quella lì",
        "ele ela eles elas seu sua isto este esta isso esse essa aquilo",
        "nó họ đó này kia ấy đây",
    )
    for word in words.split()
)
# A question that begins like this continues the one before.
_GOES_ON = re.compile(
    r"^\W*(?:and|but|so|then|und|aber|dann|y|pero|entonces|et|mais|alors|e|ma|mas|còn|thế còn|vậy"
    r"|và"
    r"|what about|how about|what else|why not|wie steht es mit|was ist mit|qué hay de|et pour)\b",
    re.IGNORECASE,
)
# Two words are hardly a question, unless they name what they are about.
_ELLIPSIS_WORDS = 2
_ARTICLES = frozenset(
    [
        "der",
        "die",
        "das",
        "el",
        "la",
        "los",
        "las",
        "le",
        "les",
        "un",
        "une",
        "una",
        "uno",
        "il",
        "lo",
        "gli",
        "i",
        "o",
        "a",
        "os",
        "as",
        "um",
        "uma",
        "the",
        "a",
        "an",
    ]
)
_QUESTION_WORDS = frozenset(
    [
        "what",
        "which",
        "who",
        "whom",
        "whose",
        "when",
        "where",
        "why",
        "how",
        "is",
        "are",
        "was",
        "were",
        "does",
        "do",
        "did",
        "was",
        "wer",
        "wann",
        "wo",
        "warum",
        "wie",
        "welche",
        "qué",
        "cuál",
        "quién",
        "cuándo",
        "dónde",
        "cómo",
        "cuánto",
        "quoi",
        "quel",
        "quelle",
        "qui",
        "quand",
        "où",
        "comment",
        "combien",
        "pourquoi",
        "che",
        "cosa",
        "quale",
        "chi",
        "quando",
        "dove",
        "come",
        "quanto",
        "quem",
        "onde",
        "como",
        "porque",
        "gì",
        "ai",
        "nào",
        "sao",
    ]
)
_MAX_TURNS_BACK = 3
_MAX_CHARACTERS = 1_000
_WORD = re.compile(r"\w+")
_UNSPACED_ELLIPSIS = 12


def rewrite(query: Query, *, gemini: Gemini | None, journal: Journal) -> RewrittenQuery:
    """Return the question of *query*, completed from the conversation before it."""
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
    """
    Return whether *question* needs what was said before: a pronoun, an ellipsis, "and in 2023?".

    A short question that names its subject stands alone: "What is AutoGen?".
    """
    words = [word.casefold() for word in _WORD.findall(question)]
    if UNSPACED.search(question):
        return len(question.strip()) <= _UNSPACED_ELLIPSIS
    if _GOES_ON.match(question):
        return True
    content = [word for word in words if word not in _QUESTION_WORDS | _ARTICLES]
    if any(_points(word, words, at) for at, word in enumerate(words)):
        return True
    if not content:
        return True
    asks = len(content) < len(words) or question.rstrip().endswith("?")
    named = any(len(word) > 3 for word in content)
    return asks and len(words) <= _ELLIPSIS_WORDS and not named


def _points(word: str, words: Sequence[str], at: int) -> bool:
    if word not in _POINTING:
        return False
    following = words[at + 1] if at + 1 < len(words) else ""
    if word in ("that", "this", "it", "es", "das", "there", "one") and at == 1:
        # "Is it possible to ...", "Is there a ...", "Gibt es ein ..." point at nothing.
        return not (following in _EXPLETIVES or (word == "there" and following))
    if word in _ALSO_ARTICLES:
        # Before a noun these are articles: "die Frist", "il termine".
        return not following
    return True


_EXPLETIVES = frozenset(
    [
        "possible",
        "necessary",
        "allowed",
        "true",
        "safe",
        "better",
        "easy",
        "hard",
        "a",
        "an",
        "any",
        "the",
        "ein",
        "eine",
        "einen",
        "möglich",
    ]
)
_ALSO_ARTICLES = frozenset(
    [
        "das",
        "die",
        "der",
        "il",
        "la",
        "lo",
        "le",
        "sie",
        "es",
        "er",
        "esta",
        "este",
        "sua",
        "su",
        "sus",
        "son",
        "ce",
        "cet",
        "cette",
        "ces",
        "là",
        "sein",
    ]
)


def finds_more(passages: Sequence[Hit], *, than: Sequence[Hit]) -> bool:
    """Return whether the question found nearer *passages* than its rewriting did."""

    def nearest(hits: Sequence[Hit]) -> tuple[float, float]:
        return (
            max((hit.similarity for hit in hits), default=0.0),
            max((hit.coverage or 0.0 for hit in hits), default=0.0),
        )

    return all(mine > other for mine, other in zip(nearest(passages), nearest(than), strict=True))


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
