"""What the documentation promises exists: pages, anchors, files, commands, targets, settings."""

from __future__ import annotations

import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import click
import pytest

from admin.cli import main
from tests.support.pages import OUTPUTS, RUN_ELSEWHERE, blocks_of, run_blocks

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
# Wordings that mark a translation (CONTRIBUTING.md).
_UNIDIOMATIC = re.compile(
    r"\b(nobody|whoever|anew|be had|has not the|is told|in vain|gone on with|thereof|shall)\b",
    re.IGNORECASE,
)
# Names of the past stay in a history.
_HISTORY = {"CHANGELOG.md"}


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose_of(name: str) -> str:
    """Return the page without its code blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text_of(name)))


@cache
def anchors_of(name: str) -> set[str]:
    """Return the anchors that GitHub makes of the page's headings."""
    headings = re.findall(r"^#+ +(.+)$", _FENCE.sub("", text_of(name)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands_of(name: str) -> list[str]:
    """Return the lines of the page's shell blocks, continued lines joined."""
    blocks = [block.code for block in blocks_of(name) if block.language in ("sh", "text")]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip()]


@pytest.mark.parametrize("name", NAMES)
def test_links_when_followed(name: str) -> None:
    """Every link within the repository leads to a file, and to a heading where it names one."""
    broken = []
    for target in (a or b for a, b in _LINK.findall(_FENCE.sub("", text_of(name)))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        page = (ROOT / name).parent / path if path else ROOT / name
        known = str(page.resolve().relative_to(ROOT))
        if not page.exists() or (anchor and anchor not in anchors_of(known)):
            broken.append(target)
    assert broken == []


def test_index_when_a_page_is_added() -> None:
    """Every page of docs/ is linked from its index."""
    linked = {target.partition("#")[0] for target, _ in _LINK.findall(text_of("docs/README.md"))}
    pages = {page.name for page in ROOT.glob("docs/*.md")} - {"README.md"}
    assert pages - linked == set()


@pytest.mark.parametrize("name", NAMES)
def test_blocks_when_read(name: str) -> None:
    """Each block says its language, and those marked as shell are valid shell."""
    for block in blocks_of(name):
        assert block.language, block.code
        if block.language == "sh":
            checked = subprocess.run(
                ["bash", "-n"], input=block.code, text=True, capture_output=True
            )
            assert checked.stderr == ""


@pytest.mark.parametrize("name", NAMES)
def test_shell_blocks_when_listed(name: str) -> None:
    """Each is run as written by a test, or a comment above it says why not."""
    if name in RUN_ELSEWHERE:
        assert (ROOT / RUN_ELSEWHERE[name]).exists()
        return
    assert len(run_blocks(name)) == len(OUTPUTS.get(name, [])), (
        "give its output in tests/support/pages.py, or say above it: <!-- not run: REASON -->"
    )


@pytest.mark.parametrize("name", NAMES)
def test_commands_when_named(name: str) -> None:
    """Each kaydangpt command has the sub-commands and options that the page gives it."""
    wrong = []
    for line in [*commands_of(name), *re.findall(r"`(\./kaydangpt [^`\n]*)`", text_of(name))]:
        found = re.search(r"(?:^|[\s(])(?:\./kaydangpt|python -m admin) ([^|#;&>]+)", line)
        if found and not found[1].startswith(("COMMAND", "run")):
            wrong += [f"{line}: {fault}" for fault in faults_of(shlex.split(found[1]))]
    assert wrong == []


def faults_of(words: list[str]) -> list[str]:
    """Return what of a command line the command does not know."""
    command: click.Command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        inner = command.get_command(click.Context(command), words.pop(0))
        if inner is None:
            return ["no such command"]
        command = inner
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    options |= {name for parameter in command.params for name in parameter.secondary_opts}
    given = [re.sub(r"[\[\]]", "", word).partition("=")[0] for word in words]
    return [word for word in given if word.startswith("--") and word not in options]


@pytest.mark.parametrize("name", NAMES)
def test_targets_when_named(name: str) -> None:
    """Each make target that the page names is in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text_of(name), re.MULTILINE))
    assert named - targets == set()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in _HISTORY])
def test_modules_when_named(name: str) -> None:
    """Each module that the page runs is there."""
    named = set(re.findall(r"python -m ([a-z_]+(?:\.[a-z_]+)+)", text_of(name)))
    missing = [
        module
        for module in sorted(named)
        if not (ROOT / (module.replace(".", "/") + ".py")).exists()
        and not (ROOT / module.replace(".", "/")).is_dir()
    ]
    assert missing == []


@pytest.mark.parametrize("name", [name for name in NAMES if name not in _HISTORY])
def test_paths_when_named(name: str) -> None:
    """Each path of the repository that stands as code is there."""
    named = re.findall(
        r"`((?:admin|benchmarks|docs|functions|infra|local|shared|tests)/[\w./-]+)`", text_of(name)
    )
    missing = {path for path in named if not (ROOT / path.partition("::")[0]).exists()}
    assert missing - {"local/bucket/", "local/bucket"} == set()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in _HISTORY])
def test_wording_when_read(name: str) -> None:
    """No page has a wording that marks a translation."""
    assert _UNIDIOMATIC.findall(prose_of(name)) == []


def test_settings_when_listed() -> None:
    """The reference has every variable of .env.example and no other."""
    known = set(re.findall(r"^# ([A-Z][A-Z0-9_]+)=", text_of(".env.example"), re.MULTILINE))
    rows = re.findall(r"^\| (`[A-Z][^|]*) \|", text_of("docs/settings.md"), re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`([A-Z0-9_]+)`", row)}
    assert listed == known


# Variables of ours that are not settings of a deployment, and those of other programs.
_NOT_SETTINGS = {"AUTO_APPROVE", "CANARY", "CANARY_SECONDS", "IMAGES", "ARGS", "DOMAIN", "UPGRADE"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in _HISTORY])
def test_settings_when_named(name: str) -> None:
    """No page names a limit or a time-out that is no setting any more."""
    known = set(re.findall(r"^# ([A-Z][A-Z0-9_]+)=", text_of(".env.example"), re.MULTILINE))
    # Without the lines of code that `make mutation` quotes.
    text = re.sub(r"^\|`[\w/]+\.py:\d+`.*", "", text_of(name), flags=re.MULTILINE)
    named = set(
        re.findall(r"\b((?:MAX|PARSE|DATABASE|GEMINI|OCR|BATCHES|EMBEDDING)_[A-Z_]+)\b", text)
    )
    assert named - known - _NOT_SETTINGS == set()


def test_commands_when_listed() -> None:
    """The page of commands has each of them."""
    listed = text_of("docs/commands.md")
    hidden = {"replay"}
    assert [
        name
        for name in main.list_commands(click.Context(main))
        if name not in hidden and not re.search(rf"`{name}\b", listed)
    ] == []


@pytest.mark.parametrize("name", [name for name in NAMES if name not in _HISTORY])
def test_pages_when_mentioned(name: str) -> None:
    """A mention of another page can be clicked."""
    prose = re.sub(r"<!--.*?-->", "", _LINK.sub("", prose_of(name)), flags=re.DOTALL)
    assert re.findall(r"\bdocs/[a-z-]+\.md\b", prose) == []


def test_metrics_when_listed() -> None:
    """The reference has every metric of the query function and of the logs, and no other."""
    code = text_of("functions/query/metrics.py")
    made = set(re.findall(r'"(kaydang_\w+)"', code)) | {
        f"kaydang_{name}"
        for name in re.findall(r'^ +\("(\w+)", "[A-Z][^"]*\.", backlog', code, re.MULTILINE)
    }
    # A name without an ending is a counter's, to which Prometheus adds _total.
    named = set(re.findall(r"`(kaydang_\w+?)(?:_total)?`", text_of("docs/metrics.md")))
    assert len(made) > 10
    assert named == made
    logged = re.findall(
        r"^ +(\w+) += \{ line = ", text_of("infra/terraform/metrics.tf"), re.MULTILINE
    )
    assert len(logged) > 10
    assert [name for name in logged if f"`{name}`" not in text_of("docs/metrics.md")] == []


@pytest.mark.parametrize("page", ["docs/metrics.md", "docs/runbooks.md"])
def test_alerts_when_listed(page: str) -> None:
    """Each alert has its line, and the section of the runbooks that it links to."""
    code = text_of("infra/terraform/alerts.tf")
    named = set(re.findall(r'^ +name += "([^"]+)"', code, re.MULTILINE))
    named |= {
        name.replace("${each.key}", key)
        for name in re.findall(r'display_name += "\$\{local\.title\}: ([^"]+)"', code)
        for key in (("fast", "slow") if "${each.key}" in name else ("",))
        if "value.name" not in name
    }
    assert len(named) > 12
    assert [name for name in sorted(named) if name not in text_of(page)] == []
    sections = set(re.findall(r'section += "([^"]+)"', code))
    sections |= set(re.findall(r"documentation_url\}#([\w-]+)", code))
    assert sections - anchors_of("docs/runbooks.md") == set()
