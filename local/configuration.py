"""What `make run` decides from the environment and .env before it starts anything: pure values."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

# One line a port: what listens there, the variable that moves it, the default.
PORTS = {
    "query": ("QUERY_PORT", 8080),
    "ingest": ("INGEST_PORT", 8081),
    "embed_worker": ("EMBED_WORKER_PORT", 8082),
    "dead_letters": ("DEAD_LETTER_PORT", 8083),
    "storage": ("STORAGE_PORT", 4443),
    "pubsub": ("PUBSUB_PORT", 8085),
    "postgres": ("POSTGRES_PORT", 5433),
}
DATABASE = "kaydangpt"

# What any program needs of the caller's environment to find files, hosts and certificates.
_INHERITED = (
    "HOME",
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "XDG_CACHE_HOME",
    "http_proxy",
    "https_proxy",
)
_DEFAULTS = {
    "GOOGLE_CLOUD_PROJECT": "kaydangpt-local",
    "DOCUMENTS_BUCKET": "documents",
    "OBJECT_EVENTS_TOPIC": "object-events",
    "CHUNK_JOBS_TOPIC": "chunk-jobs",
    "DEAD_LETTERS_TOPIC": "dead-letters",
    "EMBEDDING_MODEL_NAME": "sentence-transformers/all-MiniLM-L6-v2",
    "LOG_FORMAT": "text",
    # The page may write to this machine's own bucket; in the cloud somebody has to decide that.
    "UPLOADS_ENABLED": "true",
}


class WrongSetting(Exception):
    """A variable holds what cannot be used; the message names it."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """
    Where everything of one checkout's stack is.

    Attributes:
        ports: Of what this stack starts itself: a server named by the caller has none here.
        settings: What the caller set of the variables in .env.example, and defaults.
        base: The environment that every child gets, before what is its own.
        postgres_uid: Who runs PostgreSQL where the caller is root, as which it refuses to run.
    """

    root: Path
    ports: dict[str, int]
    settings: dict[str, str]
    base: dict[str, str]
    postgres_uid: int

    @property
    def state(self) -> Path:
        """Where data and logs are kept between runs."""
        return self.root / ".local"

    @property
    def model_dir(self) -> Path:
        """Where the exported embedding model is, or will be."""
        return Path(self.settings["MODEL_DIR"])

    @property
    def query_url(self) -> str:
        """Where questions are asked."""
        return self.url("query")

    def url(self, name: str) -> str:
        """Return the address of one of PORTS."""
        return f"http://127.0.0.1:{self.ports[name]}"

    @property
    def storage_host(self) -> str:
        """STORAGE_EMULATOR_HOST, as the storage client reads it."""
        return self.settings.get("STORAGE_EMULATOR_HOST") or self.url("storage")

    @property
    def pubsub_host(self) -> str:
        """PUBSUB_EMULATOR_HOST, as the Pub/Sub client reads it."""
        return self.settings.get("PUBSUB_EMULATOR_HOST") or f"127.0.0.1:{self.ports['pubsub']}"

    def database_url(self, login: str, password: str) -> str:
        """Return the URL by which *login* reaches our own server."""
        return (
            f"postgresql://{login}:{quote(password, safe='')}"
            f"@127.0.0.1:{self.ports['postgres']}/{DATABASE}"
        )

    def environment(self, **own: str) -> dict[str, str]:
        """Return the whole environment of a child that also gets *own*."""
        return (
            self.base
            | self.settings
            | {
                "STORAGE_EMULATOR_HOST": self.storage_host,
                "PUBSUB_EMULATOR_HOST": self.pubsub_host,
            }
            | own
        )


def configure(
    environ: Mapping[str, str],
    *,
    root: Path,
    home: Path,
    dotenv: Mapping[str, str | None],
    example: str,
    system: str = sys.platform,
) -> Configuration:
    """
    Decide where everything goes.

    Args:
        dotenv: Content of .env; a variable of the environment wins over it.
        example: Text of .env.example: the variables it names are handed on, others are not.
        system: The operating system, as sys.platform names it.

    Raises:
        WrongSetting: A port is no port, two are the same, or an address is no address.
    """
    given = {
        name: value
        for name, value in ({**dotenv, **environ}).items()
        if value and (name in known_names(example) or name in _OWN_NAMES)
    }
    settings = _DEFAULTS | {
        name: value
        for name, value in given.items()
        if name not in {*_PORT_VARIABLES, "POSTGRES_UID"}
    }
    if system != "linux":
        # Nothing there contains a parser, and the documents are the developer's own.
        settings.setdefault("ALLOW_UNCONFINED_PARSER", "true")
    # A foreign name that points to this machine gets nothing; its own names are needed by us.
    settings["ALLOWED_HOSTS"] = ",".join(
        filter(None, [settings.get("ALLOWED_HOSTS"), "127.0.0.1,localhost,[::1]"])
    )
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    model = settings["EMBEDDING_MODEL_NAME"].rstrip("/").rsplit("/", 1)[-1]
    settings.setdefault("MODEL_DIR", str(cache / "kaydangpt" / "models" / model))
    # A child runs in another folder than the caller did.
    settings["MODEL_DIR"] = str((root / Path(settings["MODEL_DIR"]).expanduser()).absolute())
    _check_storage_host(settings.get("STORAGE_EMULATOR_HOST"))
    outside = {
        "storage": "STORAGE_EMULATOR_HOST",
        "pubsub": "PUBSUB_EMULATOR_HOST",
        "postgres": "DATABASE_URL",
    }
    ports = {
        name: _port(given, variable, default)
        for name, (variable, default) in PORTS.items()
        if not settings.get(outside.get(name, ""))
    }
    _check_different(ports)
    base = {name: environ[name] for name in _INHERITED if environ.get(name)}
    base |= {
        "PATH": f"{root / '.venv' / 'bin'}:{environ.get('PATH', '/usr/bin:/bin')}",
        "PYTHONPATH": str(root),
        "PYTHONUNBUFFERED": "1",
        # A proxy knows nothing of this machine's loopback.
        "NO_PROXY": ",".join(filter(None, ("127.0.0.1,localhost", environ.get("NO_PROXY")))),
    }
    return Configuration(
        root=root, ports=ports, settings=settings, base=base, postgres_uid=_uid(given)
    )


def known_names(example: str) -> frozenset[str]:
    """Return the variables that .env.example names, those commented out too."""
    return frozenset(re.findall(r"^(?:# ?)?([A-Z][A-Z0-9_]+)=", example, flags=re.MULTILINE))


_PORT_VARIABLES = frozenset(variable for variable, _ in PORTS.values())
_OWN_NAMES = (
    _PORT_VARIABLES
    | _DEFAULTS.keys()
    | {
        "DATABASE_URL",
        "STORAGE_EMULATOR_HOST",
        "PUBSUB_EMULATOR_HOST",
        "MODEL_DIR",
        "POSTGRES_UID",
        "GOOGLE_APPLICATION_CREDENTIALS",
    }
)


def _port(given: Mapping[str, str], variable: str, default: int) -> int:
    text = given.get(variable, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise WrongSetting(f"{variable} is {text!r}, which is no port: set it to 1 to 65535.")
    return int(text)


def _uid(given: Mapping[str, str]) -> int:
    text = given.get("POSTGRES_UID", "65534")
    if not text.isdecimal() or int(text) == 0:
        raise WrongSetting(f"POSTGRES_UID is {text!r}: set it to the number of a user, not root.")
    return int(text)


def _check_different(ports: Mapping[str, int]) -> None:
    users: dict[int, str] = {}
    for name, port in ports.items():
        variable = PORTS[name][0]
        if port in users:
            raise WrongSetting(
                f"{users[port]} and {variable} are both {port}: set {variable} to another port."
            )
        users[port] = variable


def _check_storage_host(text: str | None) -> None:
    if text and urlsplit(text).scheme not in ("http", "https"):
        raise WrongSetting(
            f"STORAGE_EMULATOR_HOST is {text!r}: write the address with http:// in front."
        )
