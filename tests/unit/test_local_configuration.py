"""What `make run` decides from the environment and .env."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.configuration import Configuration, WrongSettings, configure, known_names

ROOT = Path("/checkout")
EXAMPLE = "# GEMINI_API_KEY=\n# ALLOWED_HOSTS=\nLOG_LEVEL=INFO\n# --- not a variable\n"


def configured(environ: dict[str, str] | None = None, **dotenv: str | None) -> Configuration:
    return configure(
        environ or {}, root=ROOT, home=Path("/home/ada"), dotenv=dotenv, example=EXAMPLE
    )


def test_every_server_is_ours_when_nothing_is_set() -> None:
    """Without a variable all seven ports are the ones the README names."""
    assert configured().ports == {
        "query": 8080,
        "ingest": 8081,
        "embed_worker": 8082,
        "dead_letters": 8083,
        "storage": 4443,
        "pubsub": 8085,
        "postgres": 5433,
    }


@pytest.mark.parametrize(
    ("variable", "value", "port"),
    [
        ("DATABASE_URL", "postgresql://elsewhere/x", "postgres"),
        ("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9", "storage"),
        ("PUBSUB_EMULATOR_HOST", "127.0.0.1:9", "pubsub"),
    ],
)
def test_a_server_is_not_started_when_its_address_is_given(
    variable: str, value: str, port: str
) -> None:
    """A server that is there already is used instead of one of ours."""
    ours = configured({variable: value})
    assert port not in ours.ports
    assert ours.environment()[variable] == value


def test_the_environment_wins_over_dotenv() -> None:
    """A variable set for one run is stronger than the one in .env."""
    ours = configured({"QUERY_PORT": "9000"}, QUERY_PORT="9001", INGEST_PORT="9002")
    assert (ours.ports["query"], ours.ports["ingest"]) == (9000, 9002)


@pytest.mark.parametrize(("system", "allowed"), [("linux", None), ("darwin", "true")])
def test_a_parser_without_walls_is_allowed_where_there_are_none(
    system: str, allowed: str | None
) -> None:
    """Only Linux has what contains a parser; elsewhere the developer's own documents are read."""
    ours = configure(
        {}, root=ROOT, home=Path("/home/ada"), dotenv={}, example=EXAMPLE, system=system
    )
    assert ours.environment().get("ALLOW_UNCONFINED_PARSER") == allowed


@pytest.mark.parametrize("given", [None, "ask.example"])
def test_hosts_are_this_machines_and_those_given(given: str | None) -> None:
    """Pushes and the page come by loopback, whatever else is answered for."""
    ours = configured(ALLOWED_HOSTS=given)
    hosts = ours.environment()["ALLOWED_HOSTS"].split(",")
    assert hosts == [*filter(None, [given]), "127.0.0.1", "localhost", "[::1]"]


def test_an_empty_variable_counts_as_absent() -> None:
    """A line NAME= of .env sets nothing."""
    ours = configured({"DATABASE_URL": ""}, GEMINI_API_KEY="", LOG_LEVEL=None)
    assert "postgres" in ours.ports
    assert not {"GEMINI_API_KEY", "LOG_LEVEL"} & ours.environment().keys()


def test_children_get_known_variables_alone() -> None:
    """What .env.example does not name does not reach a function."""
    ours = configured({"GEMINI_API_KEY": "k", "AWS_SECRET_ACCESS_KEY": "s", "HOME": "/home/ada"})
    environment = ours.environment(DATABASE_URL="postgresql://x")
    assert environment["GEMINI_API_KEY"] == "k"
    assert environment["HOME"] == "/home/ada"
    assert environment["DATABASE_URL"] == "postgresql://x"
    assert "AWS_SECRET_ACCESS_KEY" not in environment


def test_a_proxy_is_never_asked_for_loopback() -> None:
    """The functions reach the stand-ins even where everything else goes through a proxy."""
    environment = configured({"HTTP_PROXY": "http://proxy", "NO_PROXY": "intra"}).environment()
    assert environment["NO_PROXY"] == "127.0.0.1,localhost,intra"


def test_the_model_is_kept_in_the_cache_folder() -> None:
    """Without MODEL_DIR a model has a folder of its own name in the user's cache."""
    assert configured().model_dir == Path("/home/ada/.cache/kaydangpt/models/all-MiniLM-L6-v2")
    assert configured(
        {"XDG_CACHE_HOME": "/cache", "EMBEDDING_MODEL_NAME": "a/b"}
    ).model_dir == Path("/cache/kaydangpt/models/b")


def test_a_relative_model_folder_is_in_the_checkout() -> None:
    """MODEL_DIR means the same for every child, wherever `make run` was typed."""
    assert configured({"MODEL_DIR": "models/x"}).model_dir == ROOT / "models/x"


@pytest.mark.parametrize("port", ["", "none", "0", "65536", "-1", "8080.0"])
def test_a_port_that_is_none_is_named(port: str) -> None:
    """The error names the variable; an empty one is the default."""
    if not port:
        assert configured({"PUBSUB_PORT": port}).ports["pubsub"] == 8085
        return
    with pytest.raises(WrongSettings, match="PUBSUB_PORT"):
        configured({"PUBSUB_PORT": port})


def test_two_equal_ports_are_named() -> None:
    """One port for two servers is found before anything starts."""
    with pytest.raises(WrongSettings, match=r"QUERY_PORT and INGEST_PORT are both 8081"):
        configured({"QUERY_PORT": "8081"})


def test_a_storage_address_without_scheme_is_refused() -> None:
    """The storage client needs http:// in front."""
    with pytest.raises(WrongSettings, match="STORAGE_EMULATOR_HOST"):
        configured({"STORAGE_EMULATOR_HOST": "127.0.0.1:4443"})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("GEMINI_APIKEY", "GEMINI_API_KEY"),
        ("GEMINI_API_KEYS", "GEMINI_API_KEY"),
        ("gemini_api_key", "GEMINI_API_KEY"),
        ("ALOWED_HOSTS", "ALLOWED_HOSTS"),
        ("DATABSAE_URL", "DATABASE_URL"),
    ],
)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_misspelt_name_names_the_one_that_is_meant(written: str, meant: str, place: str) -> None:
    """A setting that nothing reads would silently be the default."""
    there: dict[str, str] = {written: "x"} if place == "environment" else {}
    dotenv: dict[str, str | None] = {written: "x"} if place == ".env" else {}
    with pytest.raises(WrongSettings, match=rf"{written}.*did you mean {meant}\?"):
        configured(there, **dotenv)


def test_names_of_other_programs_are_left_alone() -> None:
    """The environment belongs to all programs, .env to this one and to Compose."""
    foreign = {"API_KEY": "x", "GOOGLE_API_KEY": "x", "DATABASE_HOST": "x", "LANG": "C"}
    assert configured(foreign).unread == []
    assert configured(FAVOURITE_COLOUR="red").unread == ["FAVOURITE_COLOUR"]


def test_every_fault_is_named_at_once() -> None:
    """Two ports, a name and a value: one run tells them all."""
    with pytest.raises(WrongSettings) as caught:
        configure(
            {"QUERY_PORT": "none", "INGEST_PORT": "8082", "GEMINI_APIKEY": "x"},
            root=ROOT,
            home=Path("/home/ada"),
            dotenv={},
            example=EXAMPLE,
            find_faults=lambda environment: [f"{environment['DATABASE_URL']} DATABASE_POOL_SIZE"],
        )
    for part in ("QUERY_PORT", "INGEST_PORT and EMBED_WORKER_PORT", "GEMINI_API_KEY", "POOL_SIZE"):
        assert part in str(caught.value)


def test_variables_of_opentelemetry_are_handed_on() -> None:
    """Its libraries read them themselves, and .env.example cannot list them all."""
    assert configured({"OTEL_BSP_SCHEDULE_DELAY": "1"}).settings["OTEL_BSP_SCHEDULE_DELAY"] == "1"


def test_names_are_read_from_comments_too() -> None:
    """A variable that .env.example shows commented out is a known one."""
    assert known_names(EXAMPLE) == {"ALLOWED_HOSTS", "GEMINI_API_KEY", "LOG_LEVEL"}
