"""The answer without a model: which parts of the passages are chosen, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.query.answering.composition import compose
from functions.query.answering.extractive import MAX_READ, extract
from functions.query.answering.question_kind import detect_kinds, split_question
from functions.query.answering.scoring import terms
from functions.query.answering.units import split_units
from shared.search.query_terms import Question, Term
from shared.values import Hit
from tests.unit.test_citing import hit

BRIDGE = (
    "The river Kwai flows through western Thailand. The bridge over it was opened in 1943. "
    "Dr. Smith, e.g., wrote about it. It is visited by many tourists."
)
LIMITS = hit(
    "Appendix K. Limits\n\nPrev | Up | Home | Next\n\nTable K.1. Limits\n\n"
    "Item | Upper Limit\ncolumns per table | 1,600\ncolumns per index | 32\nfield size | 1 GB\n"
)
HOLD = hit(
    "7.12. How do I put a package on hold?\n\nThere are two ways of holding back packages.\n\n"
    "With apt, you can set a package to hold using\n\napt-mark hold package_name\n\n"
    "and remove the hold with\n\napt-mark unhold package_name\n"
)
ACTIONS = hit(
    "The meeting took place on Monday.\n\nAction items:\n- Sarah: Prepare the roadmap\n"
    "- Mike: Contact vendors\n"
)


def shown(question: str, *passages: Hit) -> str:
    return compose(extract(question, passages).units, passages)


def test_extract_when_a_sentence_answers() -> None:
    """The sentence that answers is chosen, and little else."""
    answer = shown("When was the bridge opened?", hit(BRIDGE), hit("Cats sleep a lot."))
    assert "The bridge over it was opened in 1943. [1]" in answer
    assert "Cats" not in answer


def test_extract_when_a_row_answers() -> None:
    """A cell is given with its row and the names of its columns, and no other table's."""
    assert shown("How many columns per table are allowed?", LIMITS).startswith(
        "Item: columns per table; Upper Limit: 1,600 [1]"
    )


def test_extract_when_the_unit_stands_in_the_header() -> None:
    """A price is one, too, where only the column's name says so."""
    table = hit("Mác tàu | Loại chỗ | Giá vé (đồng)\nSE3 | Ghế mềm | 475,000\nSE1 | Ghế cứng | 9\n")
    answer = shown("Vé ghế mềm tàu SE3 giá bao nhiêu?", table)
    assert "Giá vé (đồng): 475,000" in answer
    fares = hit("Line | Fare (EUR)\nNorth line | 2.80\nSouth line | 3.10\n")
    assert "2.80" in shown("How much does the North line cost?", fares)


@pytest.mark.parametrize(
    ("question", "text", "answers"),
    [
        ("Who is the harbour keeper?", "Groups need the consent of the harbour keeper.", False),
        ("Who is the harbour keeper?", "The harbour keeper is Ilse Krämer.", True),
        ("Who is the harbour keeper?", "Ilse Krämer is the harbour keeper.", True),
        ("What does a third visit cost?", "A second visit costs 35 euros.", False),
        ("What does a third visit cost?", "A third visit costs 40 euros.", True),
        ("Was kostet ein dritter Termin?", "Ein zweiter Termin kostet 35 Euro.", False),
        ("Was kostet ein zweiter Termin?", "Ein zweiter Termin kostet 35 Euro.", True),
        ("What time does the canteen open?", "Please use the canteen until then.", False),
        ("What time does the canteen open?", "The canteen opens at 7:30.", True),
        ("What time does the canteen open?", "The canteen opens from 7 to 15.", True),
        ("What do 9 calls per second cost?", "The first 9 calls per second cost 5 euros.", True),
    ],
)
def test_extract_when_it_is_said_of_another(question: str, text: str, answers: bool) -> None:
    """A keeper without a name answers no "who", the second visit's price none of the third."""
    assert extract(question, [hit(text)]).answers is answers


def test_extract_when_a_compound_is_named_by_its_end() -> None:
    """A Violoncello is a Cello."""
    table = hit(
        "Instrument | Monatsmiete\nVioline, Viola | 14,00 Euro\nVioloncello | 20,00 Euro\n"
        "Fagott | 36,00 Euro\n"
    )
    question = "Was kostet die Monatsmiete für ein Cello?"
    terms = [Term("cello", 1, 2, 5.0), Term("monatsmiet", 1, 4, 3.0)]
    german = Question(terms, [[term] for term in terms], [], ["de"], 9, ["german"])
    answer = compose(extract(question, [table], analysis=german).units, [table])
    assert answer == "Instrument: Violoncello; Monatsmiete: 20,00 Euro [1]"


def test_extract_when_a_command_answers() -> None:
    """A command comes with its introduction, whole, as code."""
    answer = shown("How do I hold a package using apt?", HOLD)
    assert "With apt, you can set a package to hold using [1]\n```\napt-mark hold package_name" in (
        answer
    )


def test_extract_when_code_asks_the_question() -> None:
    """An example that asks the very question is no answer to it."""
    example = hit('Ask:\n\n```\nkaydang ask "How long does a topic keep its messages?"\n```\n')
    says = hit("A topic keeps its messages for seven days, so seek works that far back.")
    answer = shown("How long does a topic keep its messages?", example, says)
    assert "seven days" in answer
    assert "kaydang ask" not in answer


def test_extract_when_a_list_answers() -> None:
    """A list comes with its introduction, as a list."""
    answer = shown("What are the action items of the meeting?", ACTIONS)
    assert "Action items: [1]\n- Sarah: Prepare the roadmap\n- Mike: Contact vendors" in answer


def test_extract_when_two_things_are_asked() -> None:
    """Each part of the question is answered, from the passage that does."""
    question = "When was the bridge opened, and how many columns per table are allowed?"
    answer = shown(question, hit(BRIDGE), LIMITS)
    assert "1943" in answer
    assert "1,600" in answer


def test_extract_when_meaning_decides() -> None:
    """Where no word is shared the model chooses, and what it gives is what is compared."""
    import numpy as np

    def embed(texts: object) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        assert isinstance(texts, list)
        near = [float("tourists" in text or "popular" in text) for text in texts]
        return np.array([[each, 1 - each] for each in near], dtype=np.float32)

    extracted = extract("Is this place popular nowadays?", [hit(BRIDGE)], embed=embed)
    texts = [BRIDGE[unit.start : unit.end] for unit in extracted.units]
    assert texts[-1] == "It is visited by many tourists."


def test_extract_when_the_reader_decides() -> None:
    """What the reader takes for the answer is chosen, read with what it stands under."""
    read: list[str] = []

    def reader(question: str, texts: Sequence[str]) -> list[float]:
        read.extend(texts)
        return [6.0 if "tourists" in text else -6.0 for text in texts]

    passage = replace(hit(BRIDGE), heading="Sights > The bridge")
    extracted = extract("Is the bridge popular nowadays?", [passage], reader=reader)
    first = extracted.parts[0].ranked[0].unit
    assert BRIDGE[first.start : first.end] == "It is visited by many tourists."
    assert any("opened in 1943" in each for each in read)
    assert all(each.startswith("The bridge. ") for each in read)


@pytest.mark.parametrize(("asked_in", "written_in"), [("de", "de"), ("en", "de"), ("de", "en")])
def test_extract_when_the_reader_does_not_know_the_language(asked_in: str, written_in: str) -> None:
    """Nothing of another language than English is read, and the answer is as without a reader."""

    def reader(question: str, texts: Sequence[str]) -> list[float]:
        raise AssertionError

    asked = Question([], [], [], [asked_in], 10.0, ["english"])
    passage = replace(hit(BRIDGE), language=written_in)
    question = "When was the bridge opened?"
    with_reader = extract(question, [passage], analysis=asked, reader=reader)
    without = extract(question, [passage], analysis=asked)
    assert with_reader.units == without.units
    assert with_reader.parts[0].confidence == without.parts[0].confidence


def test_extract_when_there_is_much_to_read() -> None:
    """Of a long passage only the best sentences are read."""
    read: list[str] = []

    def reader(question: str, texts: Sequence[str]) -> list[float]:
        read.extend(texts)
        return [0.5 for _ in texts]

    text = " ".join(f"The bridge number {n} was opened in {1900 + n}." for n in range(40))
    extract("When was the bridge number 7 opened?", [hit(text)], reader=reader)
    assert 1 < len(read) <= MAX_READ
    assert any("1907" in each for each in read)


def test_extract_when_the_answer_points_back() -> None:
    """A sentence whose subject was named before comes with the sentence that names it."""
    told = hit("The bridge was built by Ada Lowe. She was the first engineer of the county.")
    answer = shown("Which woman was the first engineer of the county?", told)
    assert answer.startswith("The bridge was built by Ada Lowe. [1] She was the first engineer")


def test_extract_when_two_parts_share_words() -> None:
    """A sentence that answers one part better is left to it."""
    club = hit("The club was founded in 1926. Since 1974 the club has held the autumn regatta.")
    answer = shown("When was the club founded, and since when has it held the regatta?", club)
    assert "1926" in answer
    assert "1974" in answer


def test_extract_when_things_are_compared() -> None:
    """Each of the two gets what is said of it, not what is said of both."""
    modes = hit(
        "In mode=low all messages are shown. In mode=high only errors are shown to the user. "
        "The mode is low or high and set at the start."
    )
    answer = shown("What is the difference between mode=low and mode=high?", modes)
    assert "all messages" in answer
    assert "only errors" in answer


def test_extract_when_the_heading_of_a_list_is_asked_for() -> None:
    """What speaks for one item by its heading alone speaks for all."""
    steps = hit("Before you cast off\n\n1. Sign the logbook.\n2. Put on a jacket.\n3. Bail out.\n")
    answer = shown("What must be done before I cast off?", replace(steps, heading="Club"))
    assert "logbook" in answer
    assert "jacket" in answer
    assert "Bail" in answer


def test_extract_when_a_step_answers() -> None:
    """A how-to is given with all of its steps, also where some share words with the question."""
    steps = hit("4 Changing the oil\n\n1. Warm the oil.\n\n2. Open the cock.\n\n3. Fill it up.\n")
    answer = shown("How do I change the oil of the pump?", steps)
    assert all(step in answer for step in ("Warm", "Open", "Fill"))


def test_extract_when_the_command_stands_further_on() -> None:
    """What is to be typed is shown with the sentence that leads to it."""
    dump = hit(
        "A whole cluster is dumped by the superuser of the cluster. It takes a while.\n\n"
        "The usage is:\n\n```\npg_dumpall > dumpfile\n```\n"
    )
    assert "pg_dumpall > dumpfile" in shown("How do I dump a whole cluster?", dump)


def test_extract_when_the_noun_is_said() -> None:
    """ "Which program" is answered by what is called a program."""
    backup = hit(
        "A mechanism of backups has two goals. The mechanism is made with the dirvish program."
    )
    answer = shown("Which program makes the backups?", backup)
    assert "dirvish" in answer


def test_extract_when_a_row_is_of_another_thing() -> None:
    """A row answers nothing that asks with a word that no document holds."""
    rates = hit("Tool | Day EUR | Week EUR\nGrinder | 95 | 340\nDrill | 24 | 82\n")
    grinder, weekend = Term("grinder", 1, 2, 2.0), Term("weekend", 1, 0, 9.0)
    for words, question in (
        ([grinder], "What does the Grinder cost?"),
        ([grinder, weekend], "What does the Grinder cost on a weekend?"),
    ):
        asked = Question(words, [[word] for word in words], [], ["en"], 10.0, ["english"])
        rows = extract(question, [rates], analysis=asked).parts[0].chosen
        assert bool(rows) == (len(words) == 1)


def test_extract_when_steps_hold_commands() -> None:
    """The command of a step is shown with it, in the order of the steps."""
    steps = hit(
        "Restarting the daemon\n\n1. Stop it\n\n   ```sh\n   service kd stop\n   ```\n\n"
        "2. Start it:\n   ```\n   service kd start\n   ```\n3. Read the log.\n"
    )
    answer = shown("How do I restart the daemon?", steps)
    assert answer.index("service kd stop") < answer.index("service kd start")
    assert answer.index("service kd start") < answer.index("Read the log.")


def test_extract_when_an_option_is_described() -> None:
    """A sentence that is unclear without the name above it is shown with the name."""
    option = hit("BOOT_DEBUG=3\n\nShells are run at various points of the boot process.\n")
    answer = shown("At which points are shells run?", option)
    assert answer.replace("\\", "").startswith("BOOT_DEBUG=3: Shells are run")


def test_extract_when_the_superuser_types_it() -> None:
    """A line behind the superuser's prompt is a command, no heading."""
    text = "Write the image to the stick with this command:\n\n# cp debian.iso /dev/sdX\n# sync\n"
    assert "cp debian.iso /dev/sdX" in shown("How do I write the image to the stick?", hit(text))


@pytest.mark.parametrize(
    "text",
    [
        "To erase a password, use\n\n$ echo url=https://a.b | git credential reject\n",
        "Q: How do I erase a password?\n\nA:  echo url=https://a.b | git credential reject\n",
    ],
)
def test_extract_when_a_command_has_a_pipe(text: str) -> None:
    """The bar of a pipe makes no table of a command."""
    answer = shown("How do I erase a password?", hit(text))
    assert "```\n" in answer
    assert "echo url=https://a.b | git credential reject" in answer


def test_extract_when_an_entry_is_told_in_the_first_person() -> None:
    """What a reader would say heads the answer, and is none."""
    text = "I have lost the key to the pump room.\n\nAsk the porter, who keeps a spare one.\n"
    assert shown("What do I do when I have lost the key to the pump room?", hit(text)) == (
        "Ask the porter, who keeps a spare one. [1]"
    )


def test_extract_when_the_passage_is_in_another_language() -> None:
    """With a model for both languages no word of the question has to stand in what answers."""
    import numpy as np

    def embed(texts: object) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        assert isinstance(texts, list)
        near = [float("Urlaubstage" in text or "28 days" in text) for text in texts]
        return np.array([[each, 1 - each] for each in near], dtype=np.float32)

    terms = [Term(word, 1, 0, 9.0) for word in ("urlaubstag", "vollzeitkraft")]
    asked = Question(terms, [[term] for term in terms], [], ["de"], 10.0, ["german"])
    leave = replace(hit("Staff wear blue. They receive 28 days of leave a year."), language="en")
    extracted = extract(
        "Wie viele Urlaubstage bekommen Vollzeitkräfte?",
        [leave],
        analysis=asked,
        embed=embed,
        multilingual=True,
    )
    assert extracted.answers
    assert "28 days" in compose(extracted.units, [leave])
    # A question has its own vector, without what tells its language.
    other = extract(
        "Wie viele Urlaubstage bekommen Vollzeitkräfte?",
        [leave],
        analysis=asked,
        embed=embed,
        embed_question=lambda _: np.array([0.0, 1.0], dtype=np.float32),
        multilingual=True,
    )
    assert [round(each.features["cosine"]) for each in other.parts[0].ranked] == [1, 0]


def test_extract_when_a_number_is_asked_for() -> None:
    """Without a number of what is counted there is no answer."""
    assert not extract(
        "How many trains cross the bridge?", [hit("Trains cross the bridge.")]
    ).answers


def test_extract_when_a_price_is_asked_for() -> None:
    """Without a sum of money there is no answer."""
    boat = "The laboratory in the hills was built in 1899 and burnt down in 1904."
    assert not extract("How much did the laboratory in the hills cost?", [hit(boat)]).answers
    paid = "The laboratory in the hills cost 400 dollars to build."
    assert extract("How much did the laboratory in the hills cost?", [hit(paid)]).answers


def test_extract_when_the_total_is_asked_for() -> None:
    """The sum of an invoice is found by whatever word it goes by; a conference has no sum."""
    invoice = hit(
        "Rechnung 2026-1187\n\nRechnungsdatum: 8. Mai 2026. Lieferdatum: 30. April 2026.\n\n"
        "Zwischensumme 1.699,00 EUR, zuzüglich Steuer 186,06 EUR. Gesamtbetrag: 1.885,06 EUR.\n"
    )
    assert "1.885,06 EUR" in shown("Welche Summe hat die Rechnung 2026-1187?", invoice)
    weights = hit("The laboratory is named by the General Conference on Weights and Pesos.")
    assert not extract("How much did the laboratory cost?", [weights]).answers


def test_extract_when_a_mail_answers() -> None:
    """Who got a mail answers only what asks about mails."""
    mail = hit("From: Ada Lowe <ada@a.example>\nTo: Jo Ray <jo@b.example>\n\nThe pump is late.\n")
    assert "Ada" not in shown("Who owns the pump of Ada Lowe?", mail)
    assert "Ray" in shown("To which address was the mail to Jo Ray sent?", mail)


def test_extract_when_words_are_inflected() -> None:
    """Words meet in whatever form question and passage have them."""
    use = hit("The unit may be used for storage only. Welding is forbidden in the unit.")
    assert "Welding" in shown("May we weld in the unit?", use)


def test_extract_when_there_is_nothing() -> None:
    """No passages give no answer."""
    assert not extract("When?", []).answers
    assert extract("When?", []).units == []


def test_extract_when_passages_repeat() -> None:
    """The same sentence is not given twice."""
    extracted = extract("When was the bridge opened?", [hit(BRIDGE), hit(BRIDGE)])
    texts = [BRIDGE[unit.start : unit.end] for unit in extracted.units]
    assert len(set(texts)) == len(texts)


def test_units_when_a_passage_has_furniture() -> None:
    """Headings, navigation and titles of tables are no parts that answer."""
    texts = [LIMITS.text[unit.start : unit.end] for unit in split_units(LIMITS, number=1)]
    assert texts == ["columns per table | 1,600", "columns per index | 32", "field size | 1 GB"]


def test_units_when_a_passage_begins_within_a_sentence() -> None:
    """What is left of a sentence that began in another passage is no part."""
    cut = replace(hit("reviewed to prevent this. The rate is high."), char_start=100)
    texts = [cut.text[unit.start : unit.end] for unit in split_units(cut, number=1)]
    assert texts == ["The rate is high."]


def test_units_when_abbreviations_stand_inside() -> None:
    """Abbreviations, numbers and quotation marks end no sentence."""
    texts = [BRIDGE[unit.start : unit.end] for unit in split_units(hit(BRIDGE), number=1)]
    assert "Dr. Smith, e.g., wrote about it." in texts
    for language, text, sentences in [
        ("de", "Schreiben Sie z. Hd. Herrn Lang, d. h. an Nr. 5. Er zahlt bzw. haftet.", 2),
        ("es", "La Sra. Gil paga, p. ej. 5 euros. Véase art. 5 o el núm. 4.", 2),
        ("fr", "Le lundi, Mme Gil, p. ex. avec M. Roy, vient. Voir art. 5.", 2),
        ("vi", "Người ký là ThS. An ở TP. Huế. Anh ấy đã đến.", 2),
        ("en", "It is not so. Ask at No. 5, approx. at 6 p.m. on Monday.", 2),
    ]:
        units = split_units(hit(text), number=1, language=language)
        found = [text[unit.start : unit.end] for unit in units]
        assert len(found) == sentences, found


MANUAL = """OPTIONS
       -n, --interval seconds
              Specify  the update interval.  The command will  not  allow  quicker
              than 0.1 second,  in which values are converted. Both '.' and
              ','  work.

       DIR_MODE
              The mode of the home directories.
"""


def units_of(text: str) -> list[str]:
    return [
        " ".join(text[unit.start : unit.end].split()) for unit in split_units(hit(text), number=1)
    ]


def test_units_when_a_manual_page_is_justified() -> None:
    """Gaps that only fill the lines make no table, and an option heads what is said of it."""
    units = split_units(hit(MANUAL), number=1)
    assert units_of(MANUAL) == [
        "Specify the update interval.",
        "The command will not allow quicker than 0.1 second, in which values are converted.",
        "Both '.' and ',' work.",
        "The mode of the home directories.",
    ]
    assert [MANUAL[unit.term[0] : unit.term[1]].strip() for unit in units if unit.term[1]] == [
        "-n, --interval seconds",
        "DIR_MODE",
    ]


@pytest.mark.parametrize(
    ("text", "units"),
    [
        (
            "5. Hedge along the railway\nThe hedge is cut in March.\n",
            ["The hedge is cut in March."],
        ),
        ("Terms of use\n============\nRead them first.\n", ["Read them first."]),
        (
            "Q: My tar fails. How do I unpack it?\n\nA: Use xz instead of tar.\n",
            ["Use xz instead of tar."],
        ),
        ("Q: How?\nA: Press the bell.\nQ: Why?\nA: It rings.\n", ["Press the bell.", "It rings."]),
        ("---\n\nSee below.\n\n[![CI](https://a.b/c.svg)](https://a.b)\n", ["See below."]),
        (".. _`Sorted`: http://a.b/c\n\n[#137](https://a.b/137)\n\nIt sorts.\n", ["It sorts."]),
        (
            "A call to /usr/sbin/policy, which lets\nthe administrator\nrule, is optional.\n",
            ["A call to /usr/sbin/policy, which lets the administrator rule, is optional."],
        ),
        ("The form {{ name | upper }} is used.\n", ["The form {{ name | upper }} is used."]),
        ("I lost my key. What now?\n\nAsk the porter.\n", ["Ask the porter."]),
        (
            "6. Trademarks. This licence grants no use of names.\n7. Fees. None are due to us.\n",
            ["Trademarks. This licence grants no use of names.", "Fees. None are due to us."],
        ),
        (
            "Status:\n\n     125    if it fails\n\n     127    if none\n            is found\n",
            ["125 if it fails", "127 if none is found"],
        ),
        ("Manual of the Boreas\n\nscrew compressor\n\nIt is red.\n", ["It is red."]),
        (
            "Check it daily:\n◦ Read the level.\nii) Drain it.\n",
            ["Check it daily: ◦ Read the level. ii) Drain it.", "Read the level.", "Drain it."],
        ),
        (
            "Enter INVOKE-RC.D (a tool) first. It runs.",
            ["Enter INVOKE-RC.D (a tool) first.", "It runs."],
        ),
        (
            "(4) I deleted rows. Is this a bug?\n\nNo. The space is used again later.\n",
            ["No. The space is used again later."],
        ),
        (
            "Line | Q3 2025 | Q3 2026\nAirport | 2,340,000 | 2,466,000\nPort | 1,100 | 980\n",
            ["Airport | 2,340,000 | 2,466,000", "Port | 1,100 | 980"],
        ),
        ("1.2. | Where does it come from?\n\nFrom the hills.\n", ["From the hills."]),
        ("3. The lock\n\nPress both buttons.\n", ["Press both buttons."]),
        ("5. Criteria\n\nPrice | 60 %\nWarranty | 15 %\n", ["Price | 60 %", "Warranty | 15 %"]),
        (
            "Sales were 7.9 million, up on last year\nFrozen food grew\nWaste fell to a fifth\n",
            [
                "Sales were 7.9 million, up on last year",
                "Frozen food grew",
                "Waste fell to a fifth",
            ],
        ),
        (
            "a[8].answer: Write to the office within 28 days.\n",
            ["Write to the office within 28 days."],
        ),
        ("* [Colours](#colours)\n* [How is it sold?](#sold)\n\nIt is red.\n", ["It is red."]),
        (
            "Three things are needed:\n\n  o a clock\n\n  o a kernel\n",
            ["Three things are needed: o a clock o a kernel", "a clock", "a kernel"],
        ),
        ("Use it\n  o bien otra cosa de la lista.\n", ["Use it o bien otra cosa de la lista."]),
        (
            "a.settings.colour: red\na.rows[1].size: 300\n",
            ["a.settings.colour: red", "a.rows[1].size: 300"],
        ),
    ],
)
def test_units_when_texts_are_plain(text: str, units: list[str]) -> None:
    """Titles, questions, rules, pictures and link targets are no parts; prose is no code."""
    assert units_of(text) == units
    assert all(unit.kind != "code" for unit in split_units(hit(text), number=1))


def test_units_when_code_stands_in_a_fence() -> None:
    """What is fenced is code, and the fence is no part of it."""
    text = "```bash\npip install kaydangpt\n```\n"
    (unit,) = split_units(hit(text), number=1)
    assert (unit.kind, text[unit.start : unit.end].strip()) == ("code", "pip install kaydangpt")


def test_extract_when_the_text_stands_in_a_frame() -> None:
    """A frame of stars around a text is not shown."""
    text = "*  The software comes as it is,    *\n*  without a warranty of any kind.  *\n"
    assert compose(split_units(hit(text), number=1), [hit(text)]) == (
        "The software comes as it is, without a warranty of any kind. [1]"
    )


@given(st.text(max_size=2000))
def test_units_when_text_is_anything(text: str) -> None:
    """Units lie within the text and are of bounded length; what is shown of them is a string."""
    passage = hit(text)
    units = split_units(passage, number=1)
    for unit in units:
        assert 0 <= unit.start < unit.end <= len(text)
        assert unit.start <= unit.head_end <= unit.end
    compose(units, [passage])


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("What is the cost, and who pays it in the end?", 2),
        ("Was kostet das Gerät und wer bezahlt es am Ende?", 2),
        ("What is the difference between a hard link and a soft link?", 2),
        ("Who wrote the rules of tennis and badminton?", 1),
        ("When was it founded and since when has it been open?", 2),
        ("Why and how?", 1),
    ],
)
def test_question_when_it_has_parts(question: str, parts: int) -> None:
    """A question falls into the parts that ask for a thing each."""
    assert len(split_question(question)) == parts


@pytest.mark.parametrize(
    "row",
    ["Prev | Chapter 8. Next Steps | Next", "Zurück | Nach oben | Weiter", "Anterior | Inicio"],
)
def test_units_when_a_row_leads_elsewhere(row: str) -> None:
    """The links between the pages of a manual are no parts that answer."""
    assert split_units(hit(f"{row}\n{row}\n"), number=1) == []


def test_question_when_kinds_differ() -> None:
    """What is asked for is told by the question words."""
    assert detect_kinds("How many columns are there?").quantity
    assert detect_kinds("Wie viele Spalten gibt es?").quantity
    assert detect_kinds("How do I stop it?").how_to
    assert detect_kinds("What is a merge base?").subject == "merge base"
    assert detect_kinds("Warum ist das so?").reason
    assert not detect_kinds("Who painted it?").quantity


def test_terms_when_scripts_differ() -> None:
    """Words are folded and cut to their beginnings; scripts without spaces give pairs."""
    assert terms("Bridges BRIDGE 1943", "en") == ["bridg", "bridg", "1943"]
    assert terms("東京都", "en") == ["東京", "京都"]
    assert terms("E-1234", "en") == ["e", "1234"]
