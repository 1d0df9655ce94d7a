"""The running service over HTTP, for the commands that ask it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click
from pydantic import Field, SecretStr

from admin.terminal import one_sentence
from kaydangpt_client import Client, ProblemError, Unreachable
from shared.settings import LogSettings, load


class ServiceSettings(LogSettings):
    """The query function's address, and the caller's credentials."""

    query_url: str = Field("http://127.0.0.1:8080", description="The query function's address.")
    query_token: SecretStr = Field(SecretStr(""), description="A key, or an identity token.")


def reads_over_http() -> bool:
    """
    Return whether documents are read from the service, not from the database.

    From outside a deployment its database is out of reach: then QUERY_URL alone is set.
    """
    return bool(os.environ.get("QUERY_URL")) and not os.environ.get("DATABASE_URL")


@contextmanager
def open_client() -> Iterator[Client]:
    """Lend a client of the service, whose errors are one sentence."""
    with one_sentence():
        settings: ServiceSettings = load(ServiceSettings)
    url = settings.query_url
    try:
        with Client(url, token=settings.query_token.get_secret_value(), retries=1) as client:
            yield client
    except Unreachable as error:
        raise click.ClickException(
            f"{url} (QUERY_URL) {error.reason}. Is it running? Start it with: kaydangpt run"
        ) from error
    except ProblemError as error:
        raise click.ClickException(f"{url} answered {error.status}: {error.detail}") from error
