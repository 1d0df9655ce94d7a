"""`python -m admin`: the operator's command."""

import io
import logging
import os
import sys
from pathlib import Path

from admin.cli import main


def _prepare_output() -> None:
    """Let any name be printed anywhere: where the locale has no sign for a letter, its number."""
    if sys.stdout is None:  # closed, as by >&-
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 -- until the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    # The pool warns of each try to connect; the command says once, in a sentence, why it failed.
    logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())
    _prepare_output()
    try:
        main(prog_name="kaydangpt")
    except OSError as error:  # such as a full disk behind the output
        sys.exit(f"Error: {error}")
