"""The answer made of sentences."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from functions.query.answering.extractive import extract, split_sentences, terms
from tests.unit.test_citing import hit

BRIDGE = (
    "The river Kwai flows through western Thailand. The bridge over it was opened in 1943. "
    "Dr. Smith, e.g., wrote about it. It is visited by many tourists."
)


def test_extract_when_a_sentence_answers() -> None:
    """The sentence with the question's rare words is chosen, in reading order with its like."""
    passages = [hit(BRIDGE), hit("Cats sleep a lot. Dogs do not.")]
    extracted = extract("When was the bridge opened?", passages)
    texts = [BRIDGE[sentence.start : sentence.end] for sentence in extracted.sentences]
    assert "The bridge over it was opened in 1943." in texts
    assert [sentence.number for sentence in extracted.sentences] == [1] * len(texts)
    assert [s.start for s in extracted.sentences] == sorted(s.start for s in extracted.sentences)


def test_extract_when_coverage_differs() -> None:
    """Coverage tells passages that speak of the question's words from those that do not."""
    question = "When was the bridge opened?"
    assert extract(question, [hit(BRIDGE)]).coverage > 0.6
    assert extract(question, [hit("Cats sleep a lot. Dogs do not.")]).coverage < 0.3


def test_extract_when_there_is_nothing() -> None:
    """No passages, or a question without words, give no sentences."""
    assert extract("When?", []).sentences == []
    assert extract("?!", [hit(BRIDGE)]).sentences == []


def test_extract_when_passages_repeat() -> None:
    """The same sentence is not given twice."""
    extracted = extract("When was the bridge opened?", [hit(BRIDGE), hit(BRIDGE)])
    texts = [BRIDGE[sentence.start : sentence.end] for sentence in extracted.sentences]
    assert len(set(texts)) == len(texts)


def test_sentences_when_abbreviations_stand_inside() -> None:
    """Abbreviations, numbers and quotation marks end no sentence."""
    texts = [BRIDGE[start:end] for start, end in split_sentences(BRIDGE)]
    assert "Dr. Smith, e.g., wrote about it." in texts
    japanese = "東京は首都です。大阪は違います！"
    assert [japanese[start:end] for start, end in split_sentences(japanese)] == [
        "東京は首都です。",
        "大阪は違います！",
    ]


def test_sentences_when_text_holds_markup() -> None:
    """A sentence is cut to its part without markup."""
    text = "See <img src=x> the bridge was opened in 1943."
    assert [text[start:end] for start, end in split_sentences(text)] == [
        "the bridge was opened in 1943."
    ]


@given(st.text(max_size=2000))
def test_sentences_when_text_is_anything(text: str) -> None:
    """Sentences follow one another within the text, each of bounded length."""
    position = 0
    for start, end in split_sentences(text):
        assert position <= start < end <= len(text)
        assert end - start <= 600
        position = end


def test_terms_when_scripts_differ() -> None:
    """Words are folded and cut to their beginnings; scripts without spaces give pairs."""
    assert terms("Bridges BRIDGE 1943") == ["bridg", "bridg", "1943"]
    assert terms("東京都") == ["東京", "京都"]
    assert terms("E-1234") == ["e", "1234"]
