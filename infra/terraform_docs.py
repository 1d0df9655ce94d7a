"""
Write the tables of a Terraform module's inputs and outputs into its README.md.

    python -m infra.terraform_docs

Between the marks of terraform-docs (https://terraform-docs.io) and in its form, so that it can
take over where it is installed. Reads blocks as `terraform fmt` leaves them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
MODULES = (
    ROOT / "infra/terraform",
    ROOT / "infra/terraform/modules/github",
)
BEGIN, END = "<!-- BEGIN_TF_DOCS -->", "<!-- END_TF_DOCS -->"


def blocks(text: str, kind: str) -> Iterator[tuple[str, str]]:
    """Yield name and body of each top-level block of a kind."""
    yield from re.findall(rf'^{kind} "(\w+)" \{{\n(.*?)^\}}', text, re.MULTILINE | re.DOTALL)


def argument(body: str, name: str) -> str | None:
    """Return the value of an argument as it is written, without its indentation; None if absent."""
    found = re.search(rf"^  {name}\s*=\s*(.*)$", body, re.MULTILINE)
    if not found:
        return None
    first, rest = found[1], body[found.end() + 1 :].splitlines()
    heredoc = re.fullmatch(r"<<-(\w+)", first)
    lines = []
    for line in rest:
        if heredoc and line.strip() == heredoc[1]:
            break
        # A value goes on as long as its lines are indented deeper than its name.
        if not heredoc and not (line.startswith("    ") or re.fullmatch(r"  [}\])]+", line)):
            break
        lines.append(line)
    if heredoc:
        return " ".join(line.strip() for line in lines)
    if not re.search(r"[{(\[]$", first):
        return first
    return "\n".join([first, *(line.removeprefix("  ") for line in lines)])


def describe(folder: Path) -> str:
    """Return the tables of the module in *folder*."""
    text = "\n".join(file.read_text() for file in sorted(folder.glob("*.tf")))
    inputs = ["## Inputs", "", "| Name | Description | Type | Default | Required |"]
    inputs.append("|------|-------------|------|---------|:--------:|")
    for name, body in sorted(blocks(text, "variable")):
        default = argument(body, "default")
        cells = (
            f"`{name}`",
            _cell(argument(body, "description") or ""),
            _code(argument(body, "type") or "any"),
            "n/a" if default is None else _code(default),
            "yes" if default is None else "no",
        )
        inputs.append(f"| {' | '.join(cells)} |")
    outputs = ["## Outputs", "", "| Name | Description |", "|------|-------------|"]
    outputs += [
        f"| `{name}` | {_cell(argument(body, 'description') or '')} |"
        for name, body in sorted(blocks(text, "output"))
    ]
    return "\n".join([*inputs, "", *outputs])


def _cell(text: str) -> str:
    unquoted = re.sub(r'^"(.*)"$', r"\1", text).replace('\\"', '"').replace("$${", "${")
    return unquoted.replace("|", "\\|")


def _code(text: str) -> str:
    """A cell of a table has one line; <pre> keeps several."""
    if "\n" not in text:
        return f"`{text}`"
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;")
    return f"<pre>{escaped}</pre>".replace("\n", "<br/>")


def write(folder: Path) -> str:
    """Return the module's README.md with its tables made again."""
    head, found, rest = (folder / "README.md").read_text().partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not (found and closed):
        raise click.ClickException(f"{folder}/README.md lacks {BEGIN} or {END}")
    return f"{head}{BEGIN}\n{describe(folder)}\n{END}{tail}"


@click.command(help="Write the tables of inputs and outputs into each module's README.md.")
def main() -> None:
    for folder in MODULES:
        (folder / "README.md").write_text(write(folder))


if __name__ == "__main__":
    main()
