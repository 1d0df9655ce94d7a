"""The tables of each module's README.md are those of its files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra.terraform_docs import MODULES, argument, blocks, describe, write


@pytest.mark.parametrize("folder", MODULES, ids=lambda folder: folder.name)
def test_the_readme_has_every_input_and_output(folder: Path) -> None:
    """python -m infra.terraform_docs was run after the last change."""
    readme = (folder / "README.md").read_text()
    assert write(folder) == readme
    text = "\n".join(file.read_text() for file in folder.glob("*.tf"))
    for name in re.findall(r'^(?:variable|output) "(\w+)"', text, re.MULTILINE):
        assert f"| `{name}` |" in readme


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    """One line, several, a text in a heredoc; what has no default is required."""
    (tmp_path / "main.tf").write_text(
        'variable "name" {\n  type        = string\n  description = "A \\"name\\" | more."\n\n'
        "  validation {\n    condition = true\n  }\n}\n\n"
        'variable "sizes" {\n  type = object({\n    cpu = optional(number, 1)\n  })\n'
        "  description = <<-EOT\n    First line,\n    second.\n  EOT\n  default     = {}\n}\n\n"
        'output "url" {\n  description = "Where."\n  value       = 1\n}\n'
    )
    tables = describe(tmp_path)
    assert '| `name` | A "name" \\| more. | `string` | n/a | yes |' in tables
    kind = "<pre>object({<br/>  cpu = optional(number, 1)<br/>})</pre>"
    assert f"| `sizes` | First line, second. | {kind} | `{{}}` | no |" in tables
    assert "| `url` | Where. |" in tables


def test_a_missing_argument_is_none() -> None:
    """Such as the default of what must be given."""
    ((_, body),) = blocks('variable "a" {\n  type = string\n}\n', "variable")
    assert argument(body, "default") is None
