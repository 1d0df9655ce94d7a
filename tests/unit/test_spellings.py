"""Spellings of the same thing meet in full-text search."""

from __future__ import annotations

import pytest

from shared.language import searchable_text
from shared.spellings import find_alternatives, find_spellings, unmarked_words


@pytest.mark.parametrize(
    "written",
    [
        "2024-03-07",
        "7 March 2024",
        "March 7th, 2024",
        "07.03.2024",
        "7. März 2024",
        "7 de marzo de 2024",
        "le 7 mars 2024",
        "ngày 7 tháng 3 năm 2024",
        "2024年3月7日",
        "07.03.24",
        "20240307",
    ],
)
def test_dates_meet(written: str) -> None:
    """A day has one word however it is written; 03/07/2024 has both that it may mean."""
    assert "d20240307" in find_spellings(f"Valid from {written} on.")
    assert {"d20240307", "d20240703"} <= set(find_spellings("03/07/2024"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1,234.56", "1.234,56"),
        ("1234.56", "1 234,56".replace(" ", "\u00a0")),
        ("12,500", "12.500"),
        ("230V", "230 V"),
        ("1.5kW", "1,5 kW"),
        ("4711-AB/09", "4711AB09"),
        ("1.8 kW", "1800 W"),
        ("1,200 mm", "1200mm"),
        ("1,200 mm", "1.2 m"),
        ("2,450,000", "2.45 million"),
        ("3.500.000 Euro", "3,5 Mio. Euro"),
        ("35 m³/h", "35m3/h"),
        ("0.0375", ".0375"),
        ("1,299.00", "1299"),
        ("M8x40", "M8 × 40"),
        ("6 a.m.", "6am"),
        ("19h45", "19:45"),
        ("19.45 Uhr", "7:45 pm"),
        ("21 Uhr", "9 p.m."),
        ("third quarter", "3. Quartal"),
        ("750 kilograms", "750kg"),
        ("1.5 Kilowatt", "1500 watts"),
        ("100 Mbit/s", "100 Mbps"),
        ("2 terabytes", "2 TB"),
        ("80 kph", "80 km/h"),
        ("+49 89 4140-2233", "089 41402233"),
        ("+49 (0) 89 4140 2233", "(089) 4140-2233"),
        ("0903 123 456", "+84903123456"),
        ("+1 (415) 555-0132", "415.555.0132"),
        ("(030) 555 01 77", "5550177"),
        ("DE89 3704 0044 0532 0130 00", "DE89370400440532013000"),
        ("GB29NWBK60161331926819", "GB29 NWBK 6016 1331 9268 19"),
        ("4556 7375 8689 9855", "4556737586899855"),
        ("8471.30.00", "8471 30 00"),
        ("TN-2420XL", "TN 2420 XL"),
        ("DIN 912", "DIN912"),
        ("v1.2.3", "1.2.3"),
        ("1.2.3", "v1.2.3"),
        ("version 7", "v7"),
        ("Python 3.11", "Python3.11"),
        ("N.A.T.O.", "NATO"),
        ("ゴミ", "ごみ"),
    ],
)
def test_numbers_and_quantities_meet(first: str, second: str) -> None:
    """What a document writes one way is found by the other."""
    document = set(searchable_text(f"It has {first} in all", language="en").split())
    asked = set(searchable_text(f"which has {second}", language="", asked=True).split())
    assert (document & asked) - {"has", "it", "in", "all", "which"}


@pytest.mark.parametrize(
    ("first", "second"),
    [("+49 89 4140-2233", "+49 89 4140-2332"), ("TN-2420XL", "TN 2410 XL"), ("v1.2.3", "1.3.2")],
)
def test_other_numbers_do_not_meet(first: str, second: str) -> None:
    """Spellings of one number share no word with those of another of its length."""
    document = {word for word in searchable_text(first, language="en").split() if len(word) > 4}
    assert not document & set(searchable_text(second, language="", asked=True).split())


def test_questions_when_no_date() -> None:
    """What looks like a date of no calendar stays in the question."""
    assert "84713000" in searchable_text("8471.30.00", language="", asked=True).split()


def test_alternatives_when_prose() -> None:
    """Ordinary questions have none; a word before a code is no part of it."""
    assert not find_alternatives("Who wrote the second part of the report, and when?")
    for asked in ("the flow of item7", "den Preis von item7", "le prix de item7"):
        assert find_alternatives(asked) == {"item", "7"}


def test_joined_words_are_their_words_too() -> None:
    """camelCase and PascalCase, with the joined word itself."""
    words = searchable_text("Set maxRetryCount of HTTPServer", language="en").split()
    assert {"maxretrycount", "max", "retry", "count", "http", "server"} <= set(words)


def test_marks_are_taken_off_documents_and_never_off_questions() -> None:
    """Who types without marks finds both; who types with them, only what has them."""
    assert unmarked_words("mütze") == ["mutze", "muetze"]
    assert "duong" in searchable_text("đường", language="vi").split()
    assert "duong" not in searchable_text("đường", language="", asked=True).split()
    assert "の" not in "".join(unmarked_words("東京都の"))


def test_dotless_and_dotted_i_meet() -> None:
    """ISPARTA, Isparta and ısparta are one word."""
    forms = {searchable_text(form, language="tr").split()[0] for form in ("Işık", "IŞIK", "ışık")}
    assert len(forms) == 1


def test_pictures_have_their_names() -> None:
    """An emoji is found by itself and by its name."""
    assert {"u1f9a6", "otter"} <= set(searchable_text("🦦", language="").split())


def test_pictures_when_older() -> None:
    """Signs of before emoji are found by themselves alone: they are bullets as well."""
    assert searchable_text("☕", language="").split()[-1] == "u2615"


def test_chinese_when_traditional() -> None:
    """Traditional and simplified characters are one."""
    assert searchable_text("停車場", language="zh") == searchable_text("停车场", language="zh")
