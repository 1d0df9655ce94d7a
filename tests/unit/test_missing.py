"""What a question names and no passage holds, and words that are only mistyped."""

from __future__ import annotations

import pytest

from functions.query.answering.missing import (
    asks_nothing,
    correct_spelling,
    find_missing,
    find_missing_numbered,
    find_near,
    find_near_words,
    find_unknown,
    holds_named,
)
from functions.query.answering.query import Refusal
from functions.query.answering.refusal import refusal_text
from shared.search.query_terms import Question, Term
from tests.unit.test_citing import hit

PASSAGES = [
    hit(
        "Error E-4471 means that the feed pump is dry. Order 2768 was shipped. Version 3.12.4"
        " of the firmware listens on port 8443. A table may have 1,600 columns."
        " Room B214 is for reading. Use the option --dry-run of the firewall."
    )
]


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        ("What does error E-4471 mean?", []),
        ("What does error E4471 mean?", []),
        ("What does error E-4417 mean?", ["E-4417"]),
        ("When was order 2768 shipped?", []),
        ("When was order 2786 shipped?", ["2786"]),
        ("What does version 3.12.4 do?", []),
        ("What does version 3.12 do?", ["3.12"]),
        ("What does version 3.14.2 do?", ["3.14.2"]),
        ("What listens on port 9443?", ["9443"]),
        ("Are 1600 columns allowed?", []),
        ("What is room B241?", ["B241"]),
        ("What does --dry-run do?", []),
        ("What does --frobnicate do?", ["--frobnicate"]),
        ('Where does it say "feed pump is dry"?', []),
        ('Where does it say "pump is wet"?', ['"pump is wet"']),
        ("What are the 3 steps?", []),
    ],
)
def test_missing_when_identifiers_differ(question: str, missing: list[str]) -> None:
    """An identifier, a number or a quoted phrase must stand in a passage to the letter."""
    assert find_missing(question, PASSAGES) == missing


def test_refusal_when_an_identifier_is_missing() -> None:
    """The refusal names it, and what is spelt like it."""
    near = find_near(["E-4417"], PASSAGES)
    assert near[0] == "E-4471"
    text = refusal_text(["en"], Refusal("missing", "", ("E-4417",), tuple(near)))
    assert text.startswith("E-4417 does not occur in these documents. Similar: E-4471")


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        ("What is the gate code of building nine?", ["building nine"]),
        ("What is the gate code of building 9?", ["building 9"]),
        ("What is the gate code of building seven?", []),
        ("What is the gate code of building 7?", []),
        ("Has building seven more than nine?", []),
        ("Are there nine buildings?", []),
        ("Where is building 9 of the works?", ["building 9"]),
        ("What does building nine hold?", ["building nine"]),
        ("What does building seven hold?", []),
        ("What is in cellar 4?", []),
        ("What is the rent of building 14?", ["building 14"]),
        ("What is due in section 12?", []),
        ("What is the gate code of building 7.5?", []),
    ],
)
def test_missing_when_a_thing_has_another_number(question: str, missing: list[str]) -> None:
    """Another building's code is no answer; a thing that has no number in the text is let be."""
    passages = [
        hit(
            "The gate code of building seven is QX-7714. More than five know the cellar."
            " See section 3.\n12. Payment"
        )
    ]
    assert find_missing_numbered(question, passages) == missing


@pytest.mark.parametrize(
    ("named", "held"),
    [
        ("E-4417", False),
        ("2768", True),
        ("8", False),
        ('"pump is dry"', True),
        ("room b214", True),
        ("room b21", False),
    ],
)
def test_holds_named_when_it_is_looked_for(named: str, held: bool) -> None:
    """What a question names is held to the letter: no longer number, no part of a word."""
    assert holds_named(named, PASSAGES) == held


def test_near_when_a_number_is_missing() -> None:
    """Another number is like it only with as many digits."""
    passages = [hit("Page 199 of 990 says that the hall of 1998 burnt down on the 19th.")]
    assert find_near(["1990"], passages) == ["1998"]


@pytest.mark.parametrize(
    "question",
    [
        "Hello!",
        "Xin chào",
        "thank you",
        "¿?",
        "Guten Morgen",
        "Thanks, that helped a lot!",
        "Hello, how are you today?",
        "Vielen Dank für die Hilfe",
    ],
)
def test_question_when_it_asks_nothing(question: str) -> None:
    """A greeting or thanks is no question, unless one follows."""
    assert asks_nothing(question, None)
    assert not asks_nothing("Hello, where is the pump?", None)
    assert not asks_nothing("Thanks, and now show the price of the pump.", None)
    assert not asks_nothing("Who thanks the helpers?", None)


def test_spelling_when_a_word_stands_nowhere() -> None:
    """A mistyped word becomes the one that it was meant to be; an identifier stays as it is."""
    analysis = Question(
        [], [], [], ["en"], 10.0, ["english"], corrections={"fierwall": "firewall", "ops": "oops"}
    )
    question = "Fierwall, fierwall or getFierwall: which option of OPS is E-4417?"
    corrected = correct_spelling(question, analysis, is_word=lambda word: False)
    assert corrected == "Firewall, firewall or getFierwall: which option of OPS is E-4417?"


def test_spelling_when_a_word_is_common() -> None:
    """A common word is not mistyped although it stands in no document."""
    analysis = Question([], [], [], ["en"], 10.0, ["english"], corrections={"coffee": "coffer"})
    question = "Where is the coffee?"
    assert correct_spelling(question, analysis, is_word=lambda word: True) == question


def test_missing_when_digits_are_no_number() -> None:
    """A power such as 2³¹ is no identifier, and nothing fails at it."""
    (passage,) = [hit("A table has at most 2³¹ rows.")]
    assert find_missing("Is it 2³¹ or E-1234?", [passage]) == ["E-1234"]


def test_refusal_when_words_stand_nowhere() -> None:
    """What is not answered is refused with the words that stand in no document, and near ones."""
    known, unknown = Term("deposit", 1, 3, 2.0), Term("chainsaw", 1, 0, 9.0)
    asked = Question([unknown, known], [[known], [unknown]], [], ["en"], 10.0, ["english"])
    words = find_unknown("What is the deposit for the chainsaw?", asked)
    assert words == ["chainsaw"]
    terms = [Term(word, 1, 0, 9.0) for word in ("cuánto", "cuest", "paar", "chainsaw")]
    asked = Question(terms, [[each] for each in terms], [], ["es"], 10.0, ["english"])
    assert find_unknown("¿Cuánto cuesta ein paar chainsaw?", asked) == ["chainsaw"]
    near = find_near_words(words, [hit("A deposit is due for the chainsaws.")])
    assert refusal_text(["en"], Refusal("not_found", "", tuple(words), tuple(near))) == (
        "The documents do not answer this question. None of them holds: chainsaw."
        " Similar: chainsaws."
    )


@pytest.mark.parametrize(
    ("question", "read"),
    [
        ("waht is due?", "what is due?"),
        ("whch fee is due?", "which fee is due?"),
        ("Combien coûte le four ?", "Combien coûte le four ?"),
        ("Who sells the Budgie?", "Who sells the Budgie?"),
    ],
)
def test_spelling_when_the_asking_word_or_a_name_is_unknown(question: str, read: str) -> None:
    """The word that a question begins with is corrected; question words and names are no slips."""
    terms = [Term(word, 1, 0, 9.0) for word in ("waht", "whch", "combien", "budgie")]
    asked = Question(
        terms,
        [[term] for term in terms],
        [],
        ["en"],
        10.0,
        ["english"],
        corrections={"combien": "combine", "budgie": "buddie"},
    )
    assert correct_spelling(question, asked, is_word=lambda _: False) == read
