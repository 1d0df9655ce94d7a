"""
Grading an answer against what a right one holds, without a judge. Pure.

An answer is right if it contains every part of the gold. It is clean if, in addition, at least half
of it comes from the passages that answer and it begins neither with a heading nor within a
sentence, so that quoting everything does not win. Texts are folded before they are compared (case,
white space, composition, quotation marks, dashes), and a number is not found within a longer one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["right", "partly", "wrong", "refused", "answered", "failed"]

# Words of a sentence that must be words of the passages, so that it lies in them.
_LYING_SHARE = 0.7
_CLEAN_PRECISION = 0.5
# A sentence around a whole passage counts fully up to so many times its words, and these more.
_AROUND_FACTOR, _AROUND_WORDS = 4, 12
_SHORT = 4
_OPENING_WORDS = 3
_LEAST_HEADING = 4

_FOLDED = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′`´", "'"),
        **dict.fromkeys("“”„«»″", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),
        **dict.fromkeys("\u00ad\u200b\ufeff¶", ""),
    }
)
FAULTS = (
    "wrong",
    "part missing",
    "refused wrongly",
    "answered wrongly",
    "failed",
    "quote not verified",
    "foreign text",
    "begins badly",
)
_FAULT_OF_VERDICT = {
    "wrong": "wrong",
    "partly": "part missing",
    "refused": "refused wrongly",
    "answered": "answered wrongly",
    "failed": "failed",
}
_MARK = re.compile(r"\s*\[\d+(?:\s*,\s*\d+)*\]")
_SENTENCE_END = re.compile(r"(?<=[.!?。])[\"')\]]*\s+|\n+")
_WORD = re.compile(r"\w+")
_MARKUP = "\"'([{<*#->|•–—“„«¿¡ \t\n"
_NUMBERED = re.compile(
    r"(?:(?:chapter|section|appendix|table|figure|kapitel|abschnitt|anhang|tabelle|capítulo|sección"
    r"|tabla|chapitre|tableau|chương|phần|bảng|hình)\s+[\w.]+\.?|\d+(?:\.\d+)+\.?)\s+\S",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class GoldQuestion:
    """
    A question, and what a right answer contains.

    Attributes:
        gold: Parts, each as alternatives of which one must stand in the answer; None if nothing
            answers.
        passages: The text that answers, word for word.
        must_not: Words that make an answer wrong, such as the previous topic.
        history: The conversation before, as POST /query takes it.
    """

    id: str
    question: str
    kind: str = ""
    language: str = ""
    gold: Sequence[Sequence[str]] | None = None
    passages: Sequence[str] = ()
    must_not: Sequence[str] = ()
    history: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Grade:
    """
    The grade of an answer.

    Attributes:
        coverage: Share of the gold's parts that the answer contains.
        found: All parts stand in the passages that came with the answer.
        precision: Share of the answer's sentences that come from the passages that answer.
        verified: Share of its citations that are verified, descriptions of pictures apart.
        judged_correct: The judge's, 0 to 1; None if there is none.
    """

    id: str
    kind: str
    language: str
    verdict: Verdict
    clean: bool = False
    grounded: bool = False
    coverage: float = 0.0
    found: bool = False
    precision: float = 0.0
    begins_badly: bool = False
    verified: float | None = None
    milliseconds: float = 0.0
    answer: str = ""
    judged_correct: float | None = None
    judged_complete: float | None = None
    judged_supported: float | None = None
    judged_reason: str = ""

    @property
    def faults(self) -> tuple[str, ...]:
        """Return the faults of the answer, in the words of FAULTS."""
        found: list[str] = []
        if self.verdict in _FAULT_OF_VERDICT and not (
            self.verdict == "refused" and self.kind == "unanswerable"
        ):
            found.append(_FAULT_OF_VERDICT[self.verdict])
        if self.grounded and self.verified is not None and self.verified < 1:
            found.append("quote not verified")
        if self.verdict in ("right", "partly") and self.precision < _CLEAN_PRECISION:
            found.append("foreign text")
        if self.begins_badly:
            found.append("begins badly")
        return tuple(found)


def grade(question: GoldQuestion, reply: Mapping[str, Any], *, milliseconds: float = 0.0) -> Grade:
    """Return what *reply*, the JSON of POST /query, is worth as the answer to *question*."""
    text = _MARK.sub("", reply.get("answer") or "")
    grounded = bool(reply.get("grounded"))
    citations = reply.get("citations") or []
    proving = [each for each in citations if not each.get("description")]
    common: dict[str, Any] = {
        "id": question.id,
        "kind": question.kind,
        "language": question.language,
        "grounded": grounded,
        "milliseconds": milliseconds,
        "answer": text,
        "verified": sum(bool(each.get("verified")) for each in proving) / len(proving)
        if proving
        else None,
    }
    if "answer" not in reply:
        return Grade(verdict="failed", **common)
    headings = [each.get("heading") or "" for each in citations]
    badly = grounded and begins_badly(text, headings=headings, passages=question.passages)
    if question.gold is None:
        return Grade(verdict="answered" if grounded else "refused", begins_badly=badly, **common)
    found = "\n".join(passage.get("text") or "" for passage in reply.get("passages") or [])
    common["found"] = count_parts(found, question.gold) == len(question.gold)
    if not grounded:
        return Grade(verdict="refused", **common)
    held = count_parts(text, question.gold)
    verdict: Verdict = "right" if held == len(question.gold) else "partly" if held else "wrong"
    if any(holds(fold(text), word) for word in question.must_not):
        verdict = "wrong"
    precision = measure_precision(text, question.passages)
    return Grade(
        verdict=verdict,
        clean=verdict == "right" and precision >= _CLEAN_PRECISION and not badly,
        coverage=held / len(question.gold),
        precision=precision,
        begins_badly=badly,
        **common,
    )


def fold(text: str) -> str:
    """Return *text* with case, composition, white space, quotation marks and dashes folded."""
    folded = unicodedata.normalize("NFKC", text).translate(_FOLDED).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def holds(folded: str, wanted: str) -> bool:
    """
    Return whether *wanted* occurs in a *folded* text.

    A number is not found within a longer number, and what is short not within a longer word.
    """
    needle = fold(wanted)
    if not needle:
        return False
    before, after = "", ""
    if needle[0].isdigit():
        before += r"(?<!\d)(?<!\d[.,])"
    if needle[-1].isdigit():
        after += r"(?!\d)(?![.,]\d)"
    if len(needle) < _SHORT:
        before += r"(?<!\w)" if needle[0].isalnum() else ""
        after += r"(?!\w)" if needle[-1].isalnum() else ""
    return re.search(before + re.escape(needle) + after, folded) is not None


def count_parts(text: str, gold: Sequence[Sequence[str]]) -> int:
    """Return how many parts of *gold* have an alternative that stands in *text*."""
    folded = fold(text)
    return sum(any(holds(folded, wanted) for wanted in part) for part in gold)


def measure_precision(text: str, passages: Sequence[str]) -> float:
    """
    Return the share of the sentences of *text* that lie in *passages*.

    A sentence lies there if a passage holds it, or most of its words are words of the passages.
    One that holds a passage and more counts the less the longer it is.
    """
    gold = [_words(passage) for passage in passages]
    joined = [f" {' '.join(words)} " for words in gold]
    known = {word for words in gold for word in words}
    credits = []
    for sentence in filter(None, map(_words, _SENTENCE_END.split(text))):
        own = f" {' '.join(sentence)} "
        shared = sum(word in known for word in sentence)
        if any(own in passage for passage in joined) or shared >= _LYING_SHARE * len(sentence):
            credits.append(1.0)
            continue
        held = [len(words) for words in gold if set(words) <= set(sentence)]
        most = _AROUND_FACTOR * sum(held) + _AROUND_WORDS
        credits.append(min(1.0, most / len(sentence)) if held else 0.0)
    return sum(credits) / len(credits) if credits else 0.0


def begins_badly(text: str, *, headings: Sequence[str], passages: Sequence[str]) -> bool:
    """
    Return whether *text* begins with a heading, or within a sentence.

    What begins as a passage that answers begins (a command, a row) is no fault.
    """
    text = text.strip()
    if _NUMBERED.match(text) or any(_begins_with(text, part) for part in _heading_parts(headings)):
        return True
    opening = _words(text)[:_OPENING_WORDS]
    if opening and any(_words(passage)[:_OPENING_WORDS] == opening for passage in passages):
        return False
    first = text.lstrip(_MARKUP)[:1]
    return not first.isalpha() or first.islower()


def _heading_parts(headings: Sequence[str]) -> Iterator[str]:
    for heading in headings:
        yield from {heading, *re.split(r"\s+[>/›»]\s+|\n", heading)}


def _begins_with(text: str, heading: str) -> bool:
    heading = heading.strip()
    if len(heading) < _LEAST_HEADING or fold(text[: len(heading)]) != fold(heading):
        return False
    rest = text[len(heading) :]
    behind = rest.lstrip(" .:#")
    return not behind or rest.startswith("\n") or behind[0] == "\n" or behind[0].isupper()


def _words(text: str) -> list[str]:
    return _WORD.findall(fold(text))
