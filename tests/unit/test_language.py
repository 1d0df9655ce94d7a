"""Languages, and what of a text is handed to full-text search."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.language import (
    SEARCH_CONFIGS,
    detect_language,
    find_file_names,
    find_identifiers,
    find_phrases,
    name_words,
    search_config,
    searchable_text,
)
from shared.language_identifier import open_identifier, unpack


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The committee will publish its report on the budget next week."),
        ("de", "Der Ausschuss veröffentlicht seinen Bericht über den Haushalt nächste Woche."),
        ("es", "El comité publicará su informe sobre el presupuesto la próxima semana."),
        ("fr", "Le comité publiera son rapport sur le budget la semaine prochaine."),
        ("vi", "Ủy ban sẽ công bố báo cáo về ngân sách vào tuần tới."),
        ("zh", "委员会将于下周公布预算报告。"),
        ("ja", "委員会は来週、予算に関する報告書を発表する。"),
        ("ru", "Комитет опубликует доклад о бюджете на следующей неделе."),
        ("th", "คณะกรรมการจะเผยแพร่รายงานงบประมาณในสัปดาห์หน้า"),
    ],
)
def test_detect_language_when_prose(language: str, text: str) -> None:
    """A sentence tells its language."""
    assert detect_language(text) == language


@pytest.mark.parametrize("sample", ["", "42", "12.5 1,000 2024-01-05 99", "\n \t", "-- ** =="])
def test_detect_language_when_no_words(sample: str) -> None:
    """Numbers and signs have no language."""
    assert detect_language(sample) == ""


def test_search_config_when_postgres_has_none() -> None:
    """Vietnamese, Chinese and what is unknown are searched as they are written."""
    assert [search_config(language) for language in ("vi", "zh", "")] == ["simple"] * 3


def test_import_when_cold() -> None:
    """Importing the module does not load the detector's model."""
    code = "import shared.language as l; print(l.open_identifier.cache_info().currsize)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "0"


@pytest.mark.parametrize("text", ["Trường Đại học", "Ngân hàng", "café", "Ørsted Å"])
def test_searchable_text_when_decomposed(text: str) -> None:
    """Composed and decomposed letters are alike."""
    decomposed = unicodedata.normalize("NFD", text)
    assert searchable_text(decomposed, language="") == searchable_text(text, language="")


def test_searchable_text_when_without_spaces() -> None:
    """Chinese, Japanese and Thai become pairs of characters; what stands between them stays."""
    assert searchable_text("東京都のPostgreSQL", language="ja").split() == [
        "东京",
        "京都",
        "都の",
        "postgresql",
        "postgre",
        "sql",
    ]


def test_searchable_text_when_full_width() -> None:
    """Full-width letters and digits are those of ASCII."""
    assert searchable_text("ＡＢＣ１２３", language="ja") == "abc123"


@pytest.mark.parametrize(
    "written",
    ["E-1234", "e-1234", "E_1234", "E.1234", "E1234", "Ｅ－1234", "E\u20111234", "E\u20131234"],
)
def test_identifier_when_written_otherwise(written: str) -> None:
    """An error code is the same one with another sign in it or none."""
    assert "e1234" in find_identifiers(f"what does {written} mean")
    assert "e1234" in searchable_text(f"Error {written}: disk full", language="en").split()


@pytest.mark.parametrize(
    ("question", "identifiers"),
    [
        ("what is a two-dimensional flow, i.e. which one?", []),
        ("why did it take 3.5 hours", []),
        ("where is config.yaml read", ["configyaml"]),
        ("who calls shared.store.search", ["sharedstoresearch"]),
        ("what does parse_document do", ["parsedocument"]),
        ("is ERR-TIMEOUT fatal", ["errtimeout"]),
        ("price of part 4711234", ["4711234"]),
        ("C++ or C#", ["cplusplus", "csharp"]),
        ("install KB5034441", ["kb5034441"]),
        ("who calls maxRetryCount", ["maxretrycount"]),
        ("what is new in 1.2.3", ["123"]),
        ("is it made in the U.S.", []),
        ("what happened in 2001\u201302, and where", ["200102"]),
        ("a dash \u2013 and two\u2013three words", []),
    ],
)
def test_find_identifiers_when_asked(question: str, identifiers: list[str]) -> None:
    """Codes, dotted and underscored names are identifiers; words with a hyphen are not."""
    assert find_identifiers(question) == identifiers


def test_find_file_names_when_with_spaces() -> None:
    """The words before a file name may belong to it."""
    assert "q3finalreportv2pdf" in find_file_names("summarise Q3 final report_v2.pdf")


@pytest.mark.parametrize("question", ['about "net income" now', "about “net income” now"])
def test_find_phrases_when_quoted(question: str) -> None:
    """A phrase stands between double quotation marks of any form."""
    assert find_phrases(question) == ["net income"]


def test_search_configs_when_stock() -> None:
    """Only configurations that PostgreSQL 16 has are named."""
    assert "estonian" not in SEARCH_CONFIGS.values()


@given(st.text())
def test_searchable_text_when_anything(text: str) -> None:
    """No sign is left that a parser could join words by, save the point of a number."""
    searchable = searchable_text(text, language="")
    assert not set(searchable) & set("-_/\\:@#&+,;!?'\"()")


@given(st.text(max_size=60))
def test_questions_when_anything(text: str) -> None:
    """Any question has identifiers, names and phrases, even if none."""
    assert isinstance([*find_identifiers(text), *find_file_names(text), *find_phrases(text)], list)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hr/employee-handbook-2024.pdf", "employee handbook 2024 employeehandbook2024"),
        ("src/maxRetryCount.py", "maxretrycount max retry count"),
        (unicodedata.normalize("NFD", "Büro.txt"), "büro buro buero"),
        ("会議室.pdf", "会议 议室"),
        ("README", "readme"),
        ("abstracts/12.txt", ""),
        ("a/.env", ""),
        (f"{'word ' * 200}.txt", "word"),
    ],
)
def test_name_words_when_file(name: str, words: str) -> None:
    """The file's own words are found as those of its text are; short numbers name nothing."""
    assert " ".join(name_words(name)) == words


def test_mapped_identifier_is_the_packed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unpacked once for all processes, it says the same; without its files the package's serves."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    packed = open_identifier.__wrapped__()
    unpack()
    unpack()
    mapped = open_identifier.__wrapped__()
    assert isinstance(mapped.nb_ptc, np.memmap)
    assert not isinstance(packed.nb_ptc, np.memmap)
    for text in (
        "The notice period is three months.",
        "Die Kündigungsfrist",
        "Thời hạn",
        "契約",
        "",
    ):
        assert mapped.rank(text) == packed.rank(text)
