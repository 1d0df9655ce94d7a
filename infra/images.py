"""
Build the images of infra/Dockerfile with buildah, where no Docker engine runs.

    python -m infra.images [--tag TAG] [--stand-ins]

The images are kept in a store of their own, ~/.cache/kaydangpt/containers, so that nothing here
is taken for an image that was pulled. The base is made of Debian's packages by mmdebstrap;
PYTHON_IMAGE names another one, such as docker.io/library/python:3.11-slim-bookworm.
With Docker: docker build -f infra/Dockerfile --build-arg FUNCTION=query -t kaydang-query .
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kaydangpt/containers"
# Image -> what infra/Dockerfile is given; the names are those of local/docker-compose.yml.
IMAGES = {
    "kaydang-ingest": ("--build-arg", "FUNCTION=ingest"),
    "kaydang-embed-worker": ("--build-arg", "FUNCTION=embed_worker"),
    "kaydang-query": ("--build-arg", "FUNCTION=query"),
    "kaydang-setup": ("--build-arg", "FUNCTION=ingest", "--target", "setup"),
}
# Images of others that local/docker-compose.yml names -> the stage that stands in for each.
STAND_INS = {
    "docker.io/pgvector/pgvector:0.8.1-pg18": "postgres",
    "gcr.io/google.com/cloudsdktool/google-cloud-cli:emulators": "pubsub",
    "docker.io/fsouza/fake-gcs-server:1.52.2": "storage",
    "docker.io/library/caddy:2.10-alpine": "proxy",
}
_BASE = "localhost/python:3.11-slim-bookworm"
_SUITE = "bookworm"
_PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
_PROGRAMS = ("podman", "buildah", "runc", "mmdebstrap")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_PUBSUB_EMULATOR = Path("/usr/lib/google-cloud-sdk/platform/pubsub-emulator/lib")


class CannotBuild(Exception):
    """A build failed; the message is the end of its output."""


def why_not() -> str | None:
    """Return what keeps this machine from building and running containers, None if nothing does."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        return (
            f"{', '.join(missing)} not installed: apt-get install --no-install-recommends podman"
            " buildah runc mmdebstrap netavark aardvark-dns iptables"
        )
    if os.geteuid() != 0:
        return "containers with limits and networks of their own need root: run it with sudo"
    return None


def environment() -> dict[str, str]:
    """Return the environment of every call of podman and buildah, and write their settings."""
    CACHE.mkdir(parents=True, exist_ok=True)
    storage = CACHE / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{CACHE}/storage"\n'
        'runroot = "/run/kaydangpt/containers"\n'
    )
    settings = ["[containers]", "default_ulimits = ["]
    # No more than this process may have itself: a sandbox has less than the default.
    for name, kind in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        most = resource.getrlimit(kind)[1]
        limit = 4096 if most == resource.RLIM_INFINITY else min(most, 4096)
        settings.append(f'  "{name}={limit}:{limit}",')
    # Neither needs systemd; crun refuses machines that have both versions of cgroups.
    settings += ["]", "[engine]", 'runtime = "runc"', 'cgroup_manager = "cgroupfs"']
    settings += ['events_logger = "file"', "[network]", 'network_backend = "netavark"', ""]
    engine = CACHE / "containers.conf"
    engine.write_text("\n".join(settings))
    return os.environ | {
        "CONTAINERS_CONF": str(engine),
        "CONTAINERS_STORAGE_CONF": str(storage),
        # A timer of systemd's would run the health checks; who waits for one runs it.
        "DISABLE_HC_SYSTEMD": "true",
    }


def run(*command: str | Path, stdin: Path | None = None) -> str:
    """
    Run a program and return its output.

    Raises:
        CannotBuild: It failed.
    """
    with (stdin or Path(os.devnull)).open("rb") as given:
        done = subprocess.run(
            command,
            env=environment(),
            cwd=ROOT,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    if done.returncode:
        raise CannotBuild(f"{' '.join(map(str, command))}:\n{done.stdout[-6000:]}")
    return done.stdout


def build_images(*, tag: str = "latest") -> Iterator[str]:
    """
    Build the functions' images and the set-up's from infra/Dockerfile, every stage of it.

    Yields:
        A line for each image: its name, how long it took, its size.

    Raises:
        CannotBuild: A stage failed.
    """
    with _locked():
        base = os.environ.get("PYTHON_IMAGE") or _make_base()
        for name, arguments in IMAGES.items():
            started = time.monotonic()
            image = f"localhost/{name}:{tag}"
            _build(
                ROOT,
                image,
                "--build-arg",
                f"PYTHON_IMAGE={base}",
                *arguments,
                *_stages_built(name, tag),
                "--file",
                "infra/Dockerfile",
                "--ignorefile",
                "infra/Dockerfile.dockerignore",
            )
            yield _describe(image, started)


def _stages_built(name: str, tag: str) -> tuple[str, ...]:
    """Return the options that take a stage from an image that was built before."""
    if name != "kaydang-setup":
        return ()
    # Reading what its stages copy, only to find them unchanged, takes a quarter of a minute.
    return "--build-context", f"ingest=container-image://localhost/kaydang-ingest:{tag}"


def build_stand_ins() -> Iterator[str]:
    """
    Build what stands for the images of others, where their registries cannot be reached.

    PostgreSQL with pgvector, Google's Pub/Sub emulator and Caddy are the programs themselves, from
    PyPI, Google's package and Debian; storage is our own emulator in the place of fake-gcs-server.

    Raises:
        CannotBuild: A stage failed, or Google's emulator is not installed.
    """
    named = os.environ.get("PUBSUB_EMULATOR_JAR")
    jars = Path(named).parent if named else _PUBSUB_EMULATOR
    if not any(jars.glob("*.jar")):
        raise CannotBuild(
            f"no Pub/Sub emulator in {jars}: install google-cloud-cli-pubsub-emulator or set"
            " PUBSUB_EMULATOR_JAR"
        )
    with _locked():
        base = _make_base()
        for image, stage in STAND_INS.items():
            started = time.monotonic()
            _build(
                ROOT,
                image,
                "--build-arg",
                f"PYTHON_IMAGE={base}",
                "--build-context",
                f"pubsub-emulator={jars}",
                "--target",
                stage,
                "--file",
                "tests/containers/images/Dockerfile",
                "--ignorefile",
                "tests/containers/images/Dockerfile.dockerignore",
            )
            yield _describe(image, started)


def _build(context: Path, image: str, *arguments: str) -> None:
    common = ("--layers", "--isolation", "oci", "--network", "host", "--tag", image)
    run("buildah", "bud", *common, *arguments, str(context))


def _make_base() -> str:
    """Return the base image: Debian with its Python, named as Docker's image names it."""
    if _exists(_BASE):
        return _BASE
    with tempfile.TemporaryDirectory(prefix="kaydang-base-") as temporary:
        folder = Path(temporary)
        tar = folder / "debian.tar"
        run("mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, tar)
        run("podman", "import", "-", f"localhost/debian:{_SUITE}", stdin=tar)
        tar.unlink()
        # Where a proxy looks into connections, its certificate is known to this machine alone.
        shutil.copy(_CERTIFICATES, folder)
        (folder / "Dockerfile").write_text(
            f"FROM localhost/debian:{_SUITE}\n"
            "ENV LANG=C.UTF-8 PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin\n"
            "RUN ln -s /usr/bin/python3 /usr/local/bin/python\n"
            f"COPY {_CERTIFICATES.name} {_CERTIFICATES}\n"
        )
        _build(folder, _BASE, "--file", str(folder / "Dockerfile"))
    return _BASE


def _exists(image: str) -> bool:
    return not subprocess.run(
        ["podman", "image", "exists", image], env=environment(), check=False
    ).returncode


def inspect(image: str) -> Mapping[str, object]:
    """Return what `podman image inspect` says of an image."""
    (found,) = json.loads(run("podman", "image", "inspect", image))
    return dict(found)


def _describe(image: str, started: float) -> str:
    size = int(str(inspect(image)["Size"])) // 1_000_000
    return f"{image}: {time.monotonic() - started:.1f} s, {size} MB"


@contextmanager
def _locked() -> Iterator[None]:
    """Hold the store against other builds; the lock ends with the process."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@click.command(help="Build the images of infra/Dockerfile with buildah.")
@click.option("--tag", default="latest", show_default=True, help="Tag of the images.")
@click.option("--stand-ins", is_flag=True, help="Also what stands for images of others in Compose.")
def main(*, tag: str, stand_ins: bool) -> None:
    reason = why_not()
    if reason is not None:
        raise click.ClickException(reason)
    try:
        for line in build_images(tag=tag):
            click.echo(line)
        for line in build_stand_ins() if stand_ins else ():
            click.echo(line)
    except CannotBuild as error:
        sys.exit(f"infra.images: {error}")


if __name__ == "__main__":
    main()
