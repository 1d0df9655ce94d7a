"""Passages that speak of what is asked about, and do not say what is asked of it."""

from __future__ import annotations

import pytest

from functions.query.answering.composition import compose
from functions.query.answering.extractive import extract
from shared.values import Hit
from tests.unit.test_citing import hit

MINUTES = hit(
    "The Elm Lane Garden Club met in the scout hut. Ann Bell proposed to halve the plots of the"
    " club. The club spent 5,870 pounds in 2025. There are 47 people on the waiting list."
)
ROOF = hit(
    "The slates on the north side are sound; thirty have slipped. Scaffolding goes up on Friday. "
    "The gutter is 12 metres long. The office is in Ludlow."
)
ROOMS = hit(
    "Room | Seats | Price EUR\nOrangery | 180 | 690\nVault | 90 | 380\nBlue Salon | 60 | 310\n"
)


@pytest.mark.parametrize(
    ("question", "passage"),
    [
        ("How many plots does the Elm Lane Garden Club have?", MINUTES),
        ("How old is Ann Bell?", MINUTES),
        ("What is the telephone number of Ann Bell?", MINUTES),
        ("What colour are the slates on the north side?", ROOF),
        ("How wide are the slates on the north side?", ROOF),
        ("In which year did the slates slip?", ROOF),
        ("How heavy are the slates?", ROOF),
        ("What is the fare on the tramway?", hit("The tramway was a line of 2 feet 6 inches.")),
        ("What did the scaffolding of 2024 cost?", hit("The scaffolding cost 300 pounds.")),
        ("How large is the Orangery in square metres?", ROOMS),
        ("What does the Chapel cost?", ROOMS),
        ("How many members does the club have?", hit("The club has members younger than 18.")),
        ("How many lamps has the tower?", hit("The lamp of the tower shone for nine nights.")),
        ("Who is the president of the club?", hit("Ann Bell keeps the keys of the club.")),
        ("Công ty có bao nhiêu nhân viên?", hit("Mỗi nhân viên của công ty có 14 ngày phép.")),
        ("Welche Farbe haben die Hecken?", hit("Die Hecken werden bis 1,25 Meter hoch.")),
    ],
)
def test_extract_when_the_value_is_not_said(question: str, passage: Hit) -> None:
    """What is said of the thing is no answer where another thing is asked of it."""
    assert not extract(question, [passage]).answers


@pytest.mark.parametrize(
    ("question", "passage", "answer"),
    [
        ("How many people are on the waiting list?", MINUTES, "47"),
        ("How many seats has the Vault?", ROOMS, "90"),
        ("What does the Blue Salon cost?", ROOMS, "310"),
        ("How long is the gutter?", ROOF, "12 metres"),
        ("When does the scaffolding go up?", ROOF, "Friday"),
        ("When does the library open?", hit("The library opens at ten."), "ten"),
        ("Wann öffnet die Halle?", hit("Die Halle öffnet um sieben."), "sieben"),
        ("How old is the boathouse?", hit("The boathouse was built in 1951."), "1951"),
        ("How many days of paid leave do we get?", hit("We get 28 days of paid leave."), "28 days"),
        ("What colour are the doors?", hit("The doors are painted dark green."), "green"),
        ("How many rooms has the house?", hit("The number of rooms of the house is 12."), "12"),
        ("Who is the chair of the club?", hit("Ann Bell is the chair of the club."), "Ann Bell"),
        ("When was the club founded?", hit("The club was founded in May 1926."), "1926"),
        ("Wann ist das Bad geöffnet?", hit("Das Bad ist ab 10 Uhr geöffnet."), "10 Uhr"),
        ("How long does the course last?", hit("The course lasts until Friday."), "Friday"),
        ("What penalty is charged when bills are late?", hit("Late bills cost a penalty."), "Late"),
        ("How much does the mixer weigh?", hit("Mixer weight: 61 kg."), "61"),
        (
            "Quanto costa il secondo permesso?",
            hit("Il primo permesso costa 30 euro l'anno, il secondo 95 euro."),
            "95",
        ),
        ("Sinh viên được giảm bao nhiêu phần trăm?", hit("Sinh viên được giảm 10%."), "10%"),
    ],
)
def test_extract_when_the_value_is_said(question: str, passage: Hit, answer: str) -> None:
    """The form of a value is recognised, and a question without one is left alone."""
    extracted = extract(question, [passage])
    assert extracted.answers
    assert answer in compose(extracted.units, [passage])


def test_extract_when_a_sentence_only_denies() -> None:
    """A sentence that denies a thing comes with the next, which says it."""
    text = "The leak in the library does not come from the slates. It comes from the gutter."
    extracted = extract("Where does the leak in the library come from?", [hit(text)])
    assert "gutter" in compose(extracted.units, [hit(text)])
