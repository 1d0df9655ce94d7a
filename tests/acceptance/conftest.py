"""One running system for all acceptance tests that leave it whole; one of its own for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import create_database, drop_database
from tests.system import System, run_system


@pytest.fixture(scope="session")
def system(
    postgres_url: str,
    template_database: str,
    model_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[System]:
    """Run the system for the whole session; a test uses object names of its own."""
    url = create_database(postgres_url, template=template_database)
    try:
        with run_system(
            folder=tmp_path_factory.mktemp("system"),
            database_url=url,
            model_dir=model_dir,
            variables={"UPLOADS_ENABLED": "true"},
        ) as running:
            yield running
    finally:
        drop_database(postgres_url, url)


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
