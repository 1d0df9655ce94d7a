"""infra.cost: its sizes are those of the environments, its tables those of the documentation."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from infra.cost import DOCUMENT, ENVIRONMENTS, Sizing, Usage, cost, main, write_document
from local.system import ROOT

_FOLDER = ROOT / "infra/deployment/environments"


def test_the_documentation_has_the_tables_that_the_command_writes() -> None:
    """python -m infra.cost --write was run after the last change."""
    text = DOCUMENT.read_text()
    assert write_document(text) == text


@pytest.mark.parametrize("name", ["small", "production"])
def test_an_environment_has_the_size_of_its_file(name: str) -> None:
    """Each number that the file sets is the one that is paid for."""
    text = (_FOLDER / f"{name}.tfvars.example").read_text()
    sizing = ENVIRONMENTS[name]

    def value(setting: str, default: str) -> str:
        found = re.search(rf"\b{setting}\s*=\s*\"?([\w-]+)", text)
        return found[1] if found else default

    tier = re.fullmatch(r"db-custom-(\d+)-(\d+)", value("tier", ""))
    assert sizing.processors == (int(tier[1]) if tier else 0)
    assert sizing.memory_gib == (int(tier[2]) // 1024 if tier else 0)
    assert sizing.zones == (2 if value("availability_type", "") == "REGIONAL" else 1)
    assert sizing.disk_gb == int(value("disk_gb", ""))
    assert sizing.backups_kept == int(value("backups_kept", "14"))
    assert sizing.log_days == (0 if value("point_in_time_recovery", "true") == "false" else 7)
    assert sizing.old_days == int(value("noncurrent_days", "30")) + int(
        value("soft_delete_days", "7")
    )
    (query,) = re.findall(r"query\s*= \{(.*)\}", text)
    warm = int(re.findall(r"min_instances = (\d+)", query)[0])
    cpu = int((re.findall(r'cpu = "(\d)"', query) or ["1"])[0])
    assert (sizing.query_processors, sizing.warm_processors) == (cpu, warm * cpu)


def test_nothing_in_it_costs_what_stands_idle() -> None:
    """Without documents and questions, only what is there all the time is paid for."""
    parts = cost(Usage(documents=0, questions=0), ENVIRONMENTS["production"])
    assert {name for name, dollars in parts.items() if dollars} == {
        "Cloud SQL: processor and memory",
        "Cloud SQL: disk",
        "Cloud Run: warm instance",
        "Cloud Run: maintenance jobs",
        "alerts",
        "images",
    }
    assert parts["Cloud SQL: processor and memory"] == pytest.approx(
        730 * 2 * (4 * 0.0413 + 15 * 0.0070)
    )


def test_each_part_grows_with_what_it_is_paid_for() -> None:
    """Twice the questions, twice the tokens; more kept generations, more of the bucket."""
    small: Sizing = ENVIRONMENTS["small"]
    once, twice = (cost(Usage(questions=count), small) for count in (1_000, 2_000))
    assert twice["Gemini"] == pytest.approx(2 * once["Gemini"])
    kept = "replaced and deleted documents, as long as they are kept"
    few, many = (cost(Usage(replaced=share), small) for share in (0.1, 0.5))
    assert many[kept] == pytest.approx(5 * few[kept])
    assert many["Cloud Run: indexing and questions"] > few["Cloud Run: indexing and questions"]


def test_the_command_takes_ones_own_numbers() -> None:
    """The sentence over the table says them again."""
    done = CliRunner().invoke(main, ["--environment", "small", "--documents", "500"])
    assert done.exit_code == 0, done.output
    assert "500 documents of 20 chunks" in done.output
    assert "KaydangPT, production" not in done.output
