"""
Remove the local state in .local/: database, bucket, topics, logs. `make clean` runs it.

Needs the standard library alone, so that it works without the virtual environment.
"""

from __future__ import annotations

import shutil
import sys

from local.checkout import STATE, AlreadyRunning, alone


def main() -> None:
    """Remove .local/, unless the stack of this checkout runs."""
    if not STATE.exists():
        return
    try:
        with alone(STATE):
            database = STATE / "postgres"
            if database.is_symlink():  # the server's own user could not reach a folder in here
                shutil.rmtree(database.resolve().parent, ignore_errors=True)
            shutil.rmtree(STATE)
    except AlreadyRunning as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
