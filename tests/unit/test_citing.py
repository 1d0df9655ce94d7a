"""Quotes are found where they stand, and nowhere else."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.query.answering.citations import Quote, attribute, cite, locate, place_marks
from shared.values import Hit

TEXT = "The “tower” was   finished\nin 1889. It’s in Paris — on the left bank. ÉCOLE Straße."


def hit(text: str, *, char_start: int = 0) -> Hit:
    return Hit(
        document_id=UUID(int=1),
        bucket="documents",
        name="a.txt",
        collection="default",
        generation=1,
        build_id=1,
        ordinal=0,
        text=text,
        heading="",
        header="",
        page=None,
        char_start=char_start,
        char_end=char_start + len(text),
        source="text",
        score=1.0,
        similarity=0.8,
        vector_rank=None,
        text_rank=None,
    )


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("finished in 1889", "finished\nin 1889"),
        ("THE TOWER WAS FINISHED", None),
        ('the "tower" WAS finished', "The “tower” was   finished"),
        ('"It\'s in Paris - on the left bank."', "It’s in Paris — on the left bank."),
        ("...in Paris...", "in Paris"),
        ("école strasse", "ÉCOLE Straße"),
        (unicodedata.normalize("NFD", "ÉCOLE"), "ÉCOLE"),
        ("finished in 1890", None),
        ("inished in 1889", None),
        ("in 188", None),
        ("a", None),
        ("", None),
        ("?!", None),
        ("in Paris ... left bank", None),
    ],
)
def test_locate_when_typography_differs(quote: str, found: str | None) -> None:
    """Case, white space, composition, quotation marks and dashes are forgiven, nothing else."""
    place = locate(quote, TEXT)
    assert (TEXT[slice(*place)] if place else None) == found


@pytest.mark.parametrize(
    ("text", "quote", "stands"),
    [
        ("It takes a bolt of size M.", "M", False),
        ("It takes a bolt of size 7.", "7", False),
        ("It costs 1,000 euros.", "It costs 1", False),
        ("It costs 1,000 euros.", "000 euros", False),
        ("It costs 1,000 euros.", "costs 1,000", True),
        ("It costs 1’000 francs.", "It costs 1", False),
        ("Pi is 3.14159.", "Pi is 3", False),
        ("Pi is 3.14159.", "Pi is 3.14159.", True),
        ("It opens at 10:30.", "It opens at 10", False),
        ("It was built in 1889. 7 years later", "in 1889", True),
        ("Parts 1, 2 and 3.", "Parts 1", True),
        ("Keep it at −20 degrees.", "20 degrees", False),
        ("Keep it at −20 degrees.", "-20 degrees", True),
        ("+49 is Germany.", "49 is Germany", False),
        ("From 1914-1918 it was shut.", "1918 it was shut", True),
        ("Covid-19 came.", "19 came", True),
    ],
)
def test_locate_when_numbers_are_cut(text: str, quote: str, stands: bool) -> None:
    """A part of a number is another number: it proves nothing."""
    assert (locate(quote, text) is not None) == stands


@pytest.mark.parametrize(
    ("text", "quote", "stands"),
    [
        ("xab", "ab", False),
        ("abx", "ab", False),
        ("so ab it", "ab", True),
        ("the cafe\u0301 is open", "the cafe", False),
        ("東京abcです", "abc", True),
        ("각도를 잰다", "가", False),
    ],
)
def test_locate_when_words_are_cut(text: str, quote: str, stands: bool) -> None:
    """A part of a word is another word, or none, if words are written apart."""
    assert (locate(quote, text) is not None) == stands


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("東京は日本の首都です。", "日本の首都"),
        ("กรุงเทพเป็นเมืองหลวง", "เมืองหลวง"),
        ("Thủ đô là Hà Nội.", unicodedata.normalize("NFD", "Hà Nội")),
        ("서울은 수도이다", unicodedata.normalize("NFD", "서울은")),
        ("soft\u00adhyphen and zero\u200bwidth", "softhyphen and zerowidth"),
        ("서울에서 만나요.", "서울"),
        ("བོད་ཡིག་གི་ཡི་གེ", "ཡིག"),
    ],
)
def test_locate_when_scripts_differ(text: str, quote: str) -> None:
    """Scripts without spaces, and letters made of parts, are found too."""
    assert locate(quote, text) is not None


@given(st.text(max_size=200), st.integers(0, 200), st.integers(0, 200))
def test_locate_when_text_is_anything(text: str, first: int, second: int) -> None:
    """A stretch of a text is found as itself or refused; the place given always folds to it."""
    start, end = sorted((first, second))
    quote = text[start:end]
    place = locate(quote, text)
    if place is not None:
        again = locate(text[slice(*place)], quote)
        assert again is not None or locate(quote, text[slice(*place)]) is not None


def test_cite_when_marks_and_quotes_differ() -> None:
    """Citations come in the order of the marks; quotes without a mark are left out."""
    passages = [hit("Alpha is first."), hit("Beta is second.", char_start=50)]
    quotes = [Quote(1, "Alpha is first"), Quote(2, "Beta is third"), Quote(3, "Gamma")]
    found = cite("B [2]. A [1].", quotes, passages)
    assert [(citation.number, citation.verified) for citation in found] == [
        (2, False),
        (1, True),
    ]
    assert (found[1].char_start, found[1].char_end) == (0, 14)


def test_cite_when_the_quote_is_of_another_passage() -> None:
    """A quote proves only the passage that it is said to come from."""
    passages = [hit("Alpha is first."), hit("Beta is second.")]
    (citation,) = cite("It is so [1].", [Quote(1, "Beta is second")], passages)
    assert not citation.verified


def test_cite_when_no_quotes_are_given() -> None:
    """The words before a mark are looked up: quoted ones, then the sentence."""
    passages = [hit("Alpha is first. It was found early."), hit("Beta is second.")]
    found = cite('He wrote "It was found early" [1]. Beta is second [2].', [], passages)
    assert [(citation.quote, citation.verified) for citation in found] == [
        ("It was found early", True),
        ("Beta is second", True),
    ]
    (unknown,) = cite("Alpha was last [1].", [], passages)
    assert not unknown.verified
    assert unknown.quote == ""


def test_cite_when_only_the_last_sentence_is_of_the_passage() -> None:
    """A mark may stand for the sentence before it alone."""
    (citation,) = cite(
        "You asked for the year. The bridge was opened in 1943 [1].",
        [],
        [hit("The bridge was opened in 1943.")],
    )
    assert citation.verified


def test_cite_when_the_sentence_is_marked_otherwise() -> None:
    """What stands before the mark of one passage is no claim about another."""
    passages = [hit("Gamma is third."), hit("Alpha is first.")]
    _, second = cite("Alpha is first [1]. Beta is second [2].", [], passages)
    assert (second.number, second.verified) == (2, False)


def test_cite_when_marks_are_many() -> None:
    """A mark is looked up so often and no more: an answer may be thousands of them."""
    passages = [hit("Alpha is first.")]
    (late,) = cite("It is not so [1]. " * 49 + "Alpha is first [1].", [], passages)
    assert late.verified
    (too_late,) = cite("It is not so [1]. " * 50 + "Alpha is first [1].", [], passages)
    assert not too_late.verified


def test_cite_when_a_quote_holds_markup() -> None:
    """A quote is the characters of the passage, all of them: it is shown as text."""
    passage = hit("See ![x](https://evil.example/p) the bridge was opened in 1943.", char_start=10)
    (citation,) = cite("So [1].", [Quote(1, passage.text)], [passage])
    assert citation.quote == passage.text
    assert citation.char_start == 10


@pytest.mark.parametrize(
    ("answer", "verified"),
    [
        ("It was opened in 1943 [1].", True),
        ("It was opened in 1944 [1].", False),
        ("It was not opened in 1943 [1].", False),
        ("It was opened by NASA in 1943 [1].", False),
        ("It was opened in 1943. [1]", True),
        ("It was opened in 1944. [1]", False),
        ("4 years after 1943 it was opened [1].", False),
        ("Sie wurde 1943 eröffnet [1].", True),
    ],
)
def test_cite_when_the_sentence_says_more_than_the_quote(answer: str, verified: bool) -> None:
    """Numbers, negations and names of a sentence must stand in what is quoted for it."""
    passage = hit("The bridge was opened in 1943.")
    (citation,) = cite(answer, [Quote(1, "bridge was opened in 1943")], [passage])
    assert citation.verified is verified
    assert citation.char_start == (passage.char_start + 4 if verified else None)


@pytest.mark.parametrize(
    ("text", "answer", "verified"),
    [
        ("The limit is 16 bar.", "The limit is 16 bar", True),
        ("The limit is 16 bar.", "The limit is 16 psi", False),
        ("The limit is 16 bar.", "Die Grenze liegt bei 16 bar", True),
        ("Refunds take 14 days.", "Refunds take 14 weeks", False),
        ("Refunds take 14 days.", "Rückzahlungen dauern 14 Tage", True),
        ("Es kostet 120 € im Monat.", "It costs $120 a month", False),
        ("Es kostet 120 € im Monat.", "It costs EUR 120 a month", True),
        ("A 14-day period of notice applies.", "The notice is 14 days", True),
        ("The fee is not refundable after June.", "The fee is refundable after June", False),
        ("The fee is not refundable after June.", "The fee is refundable", False),
        ("The fee is not refundable after June.", "The fee can be refunded until June", True),
        ("Never open the valve when hot.", "Open the valve when hot", False),
        ("Die Gebühr wird nicht erstattet.", "Die Gebühr wird erstattet", False),
        ("Dogs are welcome. Cats are not allowed.", "Dogs are welcome", True),
        ("The chair is Ilse Krämer.", "The chair is Otto Braun", False),
        ("The chair is Ilse Krämer.", "The chair is Braun", False),
        ("The chair is Ilse Krämer.", "The chair of the Harbour Board is Ilse Krämer", True),
        ("The chair is Ilse Krämer.", "The chair, Mrs Krämer, is elected", True),
        ("Die Vorsitzende ist Ilse Krämer.", "Den Vorsitz hat Ilse Krämer", True),
        ("The pool is not open to guests but to members.", "The pool is open to members", True),
        ("The house belongs to Mr Jones.", "The house belongs to the Joneses", True),
        ("It closes on 3 June.", "It closes on 3 June", True),
        ("It is so.", "It is so", True),
    ],
)
def test_cite_when_the_sentence_says_another_thing(text: str, answer: str, verified: bool) -> None:
    """A unit, a denial or a name that is not the quote's makes another statement of it."""
    (citation,) = cite(
        f"{answer} [1].", [Quote(1, text)], [hit(text)], question="Who leads the Harbour Board?"
    )
    assert citation.verified is verified


def test_cite_when_the_quote_is_a_scrap() -> None:
    """Words that stand everywhere prove nothing."""
    (citation,) = cite("It is [1].", [Quote(1, "it is")], [hit("It is so.")])
    assert not citation.verified


def test_cite_when_code_stands_before_the_mark() -> None:
    """A block of code is looked up whole; emphasis is no part of what is claimed."""
    passages = [hit("Run kubectl get pods -n prod first."), hit("Refunds take 14 days.")]
    answer = "```sh\nkubectl get pods -n prod\n```\n[1]\n\n**Refunds** take 14 days [2]."
    found = cite(answer, [], passages)
    assert [citation.quote for citation in found] == [
        "kubectl get pods -n prod",
        "Refunds take 14 days",
    ]


def test_quotes_of_no_passage() -> None:
    """A quote that names no passage belongs to the one that holds it."""
    passages = [hit("Alpha is first."), hit("Beta is second.")]
    quotes = [Quote(0, "Beta is second"), Quote(0, "Gamma"), Quote(1, "Alpha is first")]
    assert [quote.number for quote in attribute(quotes, passages)] == [2, 0, 1]


def test_marks_when_the_model_forgot_them() -> None:
    """A quote that stands in its passage marks the sentence that it supports."""
    passages = [hit("The bridge was opened in 1943."), hit("Cats sleep a lot.")]
    quotes = [
        Quote(3, "no such passage"),
        Quote(1, "bridge was opened in 1943"),
        Quote(2, "dogs sleep"),
        Quote(2, "Cats sleep a lot"),
    ]
    answer = "Dogs are nice. The bridge was opened in 1943. Cats sleep."
    placed = place_marks(answer, quotes, passages)
    assert placed == "Dogs are nice. The bridge was opened in 1943. [1] Cats sleep. [2]"
    assert place_marks("So it is [1].", quotes, passages) == "So it is [1]."


def test_marks_when_an_index_stands_in_code() -> None:
    """readings[1] in code is an index."""
    assert cite("It is `readings[1]`.", [], [hit("readings[1]")]) == []


def test_quote_of_a_description() -> None:
    """What stands in the description of a picture is said to, and is not verified."""
    passage = replace(hit("The chart shows 410 ferries in 2023."), source="figure")
    (citation,) = cite("There were 410 ferries [1].", [Quote(1, "410 ferries")], [passage])
    assert (citation.verified, citation.description, citation.carries) == (False, True, True)
    assert (citation.quote, citation.char_start) == ("410 ferries", None)
    # Another number than the description's is not carried by it.
    (citation,) = cite("There were 500 ferries [1].", [Quote(1, "410 ferries")], [passage])
    assert (citation.verified, citation.description) == (False, False)
    (citation,) = cite("There were 410 ferries [1].", [Quote(1, "no such words")], [passage])
    assert (citation.verified, citation.description) == (False, False)


def test_description_verifies_no_text() -> None:
    """A number that stands in a description alone does not make a quote of the text verified."""
    text = hit("Ferries leave the harbour every day.")
    figure = replace(hit("The chart shows 410 ferries."), source="figure")
    citations = cite(
        "The 410 ferries leave every day [1][2].",
        [Quote(1, "leave the harbour every day"), Quote(2, "410 ferries")],
        [text, figure],
    )
    assert [each.verified for each in citations] == [False, False]
    assert [each.description for each in citations] == [False, True]
