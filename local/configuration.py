"""The configuration of `make run`, from the environment and .env: pure values."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import quote, urlsplit

# Server: its variable and its default port.
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

# Any program needs these to find files, hosts and certificates.
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
    "DOCUMENT_EVENTS_TOPIC": "document-events",
    "EMBEDDING_MODEL_NAME": "sentence-transformers/all-MiniLM-L6-v2",
    "LOG_FORMAT": "text",
    # The page may write to this machine's own bucket; in the cloud an operator decides that.
    "UPLOADS_ENABLED": "true",
}


# PostgreSQL refuses to run as root; this is the user "nobody" of every Linux.
POSTGRES_UID = 65534


class WrongSettings(Exception):
    """Variables are misspelt or hold unusable values; the message names every one."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """
    The addresses, settings and folders of one checkout's stack.

    Attributes:
        ports: Those of the servers that this stack starts; a server named by the caller has none.
        settings: What the caller set of the variables in .env.example, and defaults.
        base: The environment that all children share.
        unread: Variables of .env that neither this stack nor Compose reads.
    """

    root: Path
    ports: dict[str, int]
    settings: dict[str, str]
    base: dict[str, str]
    unread: list[str]

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


def _find_none(_: Mapping[str, str]) -> list[str]:
    return []


def configure(
    environ: Mapping[str, str],
    *,
    root: Path,
    home: Path,
    dotenv: Mapping[str, str | None],
    example: str,
    compose: str = "",
    find_faults: Callable[[Mapping[str, str]], Sequence[str]] = _find_none,
    system: str = sys.platform,
) -> Configuration:
    """
    Return the configuration.

    Args:
        dotenv: Content of .env; a variable of the environment wins over it.
        example: Text of .env.example: the variables it names are handed on, others are not.
        compose: Text of docker-compose.yml, which reads the same .env.
        find_faults: Returns what the functions cannot read in the environment it is given.
        system: The operating system, as sys.platform names it.

    Raises:
        WrongSettings: A name is misspelt, a port is no port or used twice, an address is no
            address, or a function cannot read a value. All of them are named.
    """
    known = known_names(example) | _OWN_NAMES
    composed = frozenset(re.findall(r"\$\{([A-Z][A-Z0-9_]*)", compose))
    faults, unread = _find_misspelt(environ, dotenv, known=known, others=composed)
    given = {
        name: value
        for name, value in ({**dotenv, **environ}).items()
        # OpenTelemetry reads some dozens of its own.
        if value and (name in known or name.startswith("OTEL_"))
    }
    settings = _DEFAULTS | {
        name: value for name, value in given.items() if name not in _PORT_VARIABLES
    }
    if system != "linux":
        # No other system can confine a parser, and the documents are the developer's own.
        settings.setdefault("ALLOW_UNCONFINED_PARSER", "true")
    # Requests for foreign names that point to this machine (DNS rebinding) are refused.
    settings["ALLOWED_HOSTS"] = ",".join(
        filter(None, [settings.get("ALLOWED_HOSTS"), "127.0.0.1,localhost,[::1]"])
    )
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    model = settings["EMBEDDING_MODEL_NAME"].rstrip("/").rsplit("/", 1)[-1]
    settings.setdefault("MODEL_DIR", str(cache / "kaydangpt" / "models" / model))
    # A child runs in another folder than the caller did.
    settings["MODEL_DIR"] = str((root / Path(settings["MODEL_DIR"]).expanduser()).absolute())
    faults += _check_storage_host(settings.get("STORAGE_EMULATOR_HOST"))
    outside = {
        "storage": "STORAGE_EMULATOR_HOST",
        "pubsub": "PUBSUB_EMULATOR_HOST",
        "postgres": "DATABASE_URL",
    }
    ports = {}
    for name, (variable, default) in PORTS.items():
        if settings.get(outside.get(name, "")):
            continue
        text = given.get(variable, str(default))
        if text.isdecimal() and 1 <= int(text) <= 65535:
            ports[name] = int(text)
        else:
            faults.append(f"{variable} is {text!r}, which is no port: set it to 1 to 65535.")
    faults += _check_different(ports)
    base = {name: environ[name] for name in _INHERITED if environ.get(name)}
    base |= {
        "PATH": f"{root / '.venv' / 'bin'}:{environ.get('PATH', '/usr/bin:/bin')}",
        "PYTHONPATH": str(root),
        "PYTHONUNBUFFERED": "1",
        # A proxy cannot reach this machine's loopback.
        "NO_PROXY": ",".join(filter(None, ("127.0.0.1,localhost", environ.get("NO_PROXY")))),
    }
    found = find_faults(base | settings | _PLACEHOLDERS | given)
    # A wrong port was named above.
    faults += [fault for fault in found if not any(name in fault for name in _PORT_VARIABLES)]
    if faults:
        raise WrongSettings("\n".join(dict.fromkeys(faults)))
    return Configuration(root=root, ports=ports, settings=settings, base=base, unread=unread)


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
        "GOOGLE_APPLICATION_CREDENTIALS",
    }
)


# What the stack itself gives the functions.
_PLACEHOLDERS = {"DATABASE_URL": "postgresql:///"}


def _find_misspelt(
    environ: Mapping[str, str],
    dotenv: Mapping[str, str | None],
    *,
    known: Collection[str],
    others: Collection[str],
) -> tuple[list[str], list[str]]:
    """
    Return a sentence for each name that is nearly one of *known*, and what .env has beside them.

    The environment is full of other programs' variables, so there only a missing underscore, a
    wrong case or one wrong letter counts; .env is ours.
    """
    faults, unread = [], []
    for name in dotenv:
        if name in known or name in others or name.startswith(("OTEL_", "COMPOSE_", "DOCKER_")):
            continue
        near = get_close_matches(name.upper(), known, n=1, cutoff=0.8)
        if near:
            faults.append(f".env sets {name}, which nothing reads: did you mean {near[0]}?")
        else:
            unread.append(name)
    for name, value in environ.items():
        if not value or name in known or name in others or name in dotenv:
            continue
        faults += [
            f"{name} is set, which nothing reads: did you mean {meant}?"
            for meant in sorted(known)
            if _is_slip(name, meant) and meant not in environ
        ]
    return faults, unread


# Shorter names are too near to those of other programs: API_KEY is not a slip of API_KEYS.
_SHORTEST_SLIP = 8


def _is_slip(name: str, meant: str) -> bool:
    """Return whether *name* is *meant* but for underscores, case and one letter at most."""
    one, other = (each.replace("_", "").upper() for each in (name, meant))
    if len(one) < _SHORTEST_SLIP:
        return False
    same = _common_prefix(one, other) + _common_prefix(one[::-1], other[::-1])
    left = max(len(one), len(other)) - same
    swapped = left == 2 and sorted(one) == sorted(other)
    return left <= 1 or swapped


def _common_prefix(one: str, other: str) -> int:
    return next(
        (length for length, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


def _check_different(ports: Mapping[str, int]) -> list[str]:
    users: dict[int, str] = {}
    faults = []
    for name, port in ports.items():
        variable = PORTS[name][0]
        if port in users:
            faults.append(
                f"{users[port]} and {variable} are both {port}: set {variable} to another port."
            )
        users[port] = variable
    return faults


def _check_storage_host(text: str | None) -> list[str]:
    if text and urlsplit(text).scheme not in ("http", "https"):
        return [f"STORAGE_EMULATOR_HOST is {text!r}: write the address with http:// in front."]
    return []
