"""
Remove the local state in .local/: database, bucket, topics, logs. `make clean` runs it.

Needs the standard library alone, so that it works without the virtual environment.
"""

from __future__ import annotations

import shutil
import sys

from local.checkout import STATE, AlreadyRunning, alone, remove


def main() -> None:
    """Remove .local/, unless the stack of this checkout runs."""
    if not STATE.exists():
        return
    try:
        with alone(STATE):
            remove(STATE / "postgres")
            shutil.rmtree(STATE)
    except AlreadyRunning as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
