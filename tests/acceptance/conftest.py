"""A system of its own for each test that breaks it; the others share one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from local.system import System, run_system


@pytest.fixture
def start_system(
    database_url: str, model_dir: Path, tmp_path: Path
) -> Iterator[Callable[..., System]]:
    """Return what starts a system of the test's own, to be killed in parts."""
    with ExitStack() as stack:

        def start(**options: object) -> System:
            return stack.enter_context(
                run_system(
                    **{  # type: ignore[arg-type]
                        "folder": tmp_path,
                        "database_url": database_url,
                        "model_dir": model_dir,
                        **options,
                    }
                )
            )

        yield start
