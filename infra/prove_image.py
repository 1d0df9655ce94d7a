"""
Build the images of infra/Dockerfile without a Docker engine, and answer a question from them.

    sudo .venv/bin/python infra/prove_image.py [--keep]

Follows the Dockerfile instruction by instruction: a stage is a folder with a Debian in it, RUN runs
in it by chroot, COPY copies. Then each function runs from its own folder as the image's user, with
the image's environment, a read-only root and nothing writable but /tmp; database and stand-ins
of Storage and Pub/Sub run beside it; a document is put into the bucket and must be cited.

Needs root, Linux, debootstrap (apt-get install debootstrap) and .venv (make install-tests).
Finished stages are kept in .cache/infra/image by the hash of what made them; an instruction that
changes makes its stage and those after it again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "infra" / "image"
FUNCTIONS = ("ingest", "embed_worker", "query")
# Stands for python:3.11-slim-bookworm, which is the same Debian with a Python of its own.
SUITE = "bookworm"
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
# What a build on this machine's network needs to reach package indexes; no stage's key holds it.
NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt")
WHEELS = Path("/opt/wheels")


@dataclass(slots=True)
class Stage:
    """A stage as far as it is built: its folder and what the image would carry along."""

    key: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    command: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Source:
    """A stage as the Dockerfile writes it."""

    name: str
    parent: str
    instructions: list[tuple[str, str]]


def main() -> int:
    """Build all images, run the system from them, say how long each part took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--keep", action="store_true", help="say where the stages are; they are kept anyway"
    )
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("prove_image: chroot needs root (sudo)")
    started = time.monotonic()
    images = {}
    for function in FUNCTIONS:
        images[function] = Builder({"FUNCTION": function}).build()
    images["setup"] = Builder({"FUNCTION": "ingest"}).build("setup")
    for name, image in images.items():
        check_contents(name, image)
        print(f"image {name}: {megabytes(image.folder)} MB with Debian, user {image.user}")
        if options.keep:
            print(f"  {image.folder}")
    run_system(images)
    print(f"prove_image: ok in {time.monotonic() - started:.0f} s")
    return 0


class Builder:
    """Builds stages of the Dockerfile with one set of build arguments."""

    def __init__(self, arguments: dict[str, str]) -> None:
        text = (ROOT / "infra/Dockerfile").read_text()
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        joined = re.sub(r"\\\n", " ", "\n".join(lines))
        instructions = [
            (word.upper(), rest.strip())
            for word, _, rest in (line.strip().partition(" ") for line in joined.splitlines())
            if word
        ]
        # PyTorch's own index is not reached from everywhere; its wheel may lie in WHEELS.
        self.arguments = {"TORCH_INDEX_URL": "https://pypi.org/simple", **arguments}
        self.globals: dict[str, str] = {}
        self.sources: list[Source] = []
        for word, rest in instructions:
            if word == "FROM":
                parent, _, name = expand(rest, self.globals).partition(" AS ")
                self.sources.append(Source(name or "final", parent, []))
            elif not self.sources:
                name, _, default = rest.partition("=")
                self.globals[name] = self.arguments.get(name, default)
            else:
                self.sources[-1].instructions.append((word, rest))
        self.built: dict[str, Stage] = {}

    def build(self, name: str = "final") -> Stage:
        """Return the stage *name*, built or taken from an earlier run."""
        if name not in self.built:
            source = next((s for s in self.sources if s.name == name), None)
            self.built[name] = make_base() if source is None else self._build(source)
        return self.built[name]

    def _build(self, source: Source) -> Stage:
        parent = self.build(source.parent)
        stage = Stage(
            parent.key,
            parent.folder,
            dict(parent.environment),
            parent.workdir,
            parent.user,
            parent.command,
        )
        known: dict[str, str] = {}
        steps: list[tuple[str, str, str, dict[str, str]]] = []
        for word, rest in source.instructions:
            if word == "ARG":
                name, _, default = rest.partition("=")
                known[name] = self.arguments.get(name, self.globals.get(name, default))
                continue
            variables = stage.environment | known
            if word == "ENV":
                for pair in shlex.split(expand(rest, variables)):
                    key, _, value = pair.partition("=")
                    stage.environment[key] = value
            elif word == "WORKDIR":
                stage.workdir = expand(rest, variables)
                steps.append(("RUN", f"mkdir -p {stage.workdir}", "/", {}))
            elif word == "USER":
                stage.user = expand(rest, variables)
            elif word == "CMD":
                stage.command = json.loads(rest)
            elif word == "COPY":
                steps.append(("COPY", expand(rest, variables), stage.workdir, {}))
            elif word == "RUN":
                steps.append(("RUN", rest, stage.workdir, variables))
            elif word != "EXPOSE":
                sys.exit(f"prove_image: the Dockerfile has {word}, which is not followed yet")
        if not steps:
            return stage
        digest = hashlib.sha256(parent.key.encode())
        for word, text, workdir, variables in steps:
            digest.update(json.dumps([word, text, workdir, variables], sort_keys=True).encode())
            if word == "COPY":
                digest.update(self._hash_copy(text).encode())
        stage.key = digest.hexdigest()[:16]
        stage.folder = CACHE / f"{source.name}-{stage.key}"
        if (stage.folder.parent / f"{stage.folder.name}.done").exists():
            return stage
        started = time.monotonic()
        shutil.rmtree(stage.folder, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", "--reflink=auto", parent.folder, stage.folder], check=True)
        for word, text, workdir, variables in steps:
            if word == "RUN":
                run_in(stage.folder, text, workdir=workdir, environment=variables)
            else:
                self._copy(stage.folder, text, workdir)
        (stage.folder.parent / f"{stage.folder.name}.done").touch()
        print(f"stage {source.name}: {time.monotonic() - started:.1f} s", flush=True)
        return stage

    def _operands(self, text: str) -> tuple[Path, list[str], str]:
        words = text.split()
        origin = ROOT
        if words[0].startswith("--from="):
            origin = self.build(words.pop(0).removeprefix("--from=")).folder
        *sources, target = words
        return origin, [source.lstrip("/") for source in sources], target

    def _hash_copy(self, text: str) -> str:
        if text.startswith("--from="):
            return self.build(text.split()[0].removeprefix("--from=")).key
        origin, sources, _ = self._operands(text)
        digest = hashlib.sha256()
        for source in sources:
            for file in sorted(files_of(origin / source)):
                digest.update(str(file.relative_to(origin)).encode() + file.read_bytes())
        return digest.hexdigest()

    def _copy(self, folder: Path, text: str, workdir: str) -> None:
        origin, sources, target = self._operands(text)
        destination = folder / (Path(workdir) / target).as_posix().lstrip("/")
        for source in sources:
            path = origin / source
            if not path.exists():
                sys.exit(f"prove_image: COPY names {source}, which is not there")
            if path.is_dir():
                # A folder's content is copied, not the folder: as COPY does.
                ignore = shutil.ignore_patterns("__pycache__", "*.pyc") if origin == ROOT else None
                shutil.copytree(path, destination, symlinks=True, dirs_exist_ok=True, ignore=ignore)
            else:
                into = destination / path.name if target.endswith("/") else destination
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, into)


def expand(text: str, variables: dict[str, str]) -> str:
    """Replace ${NAME} as the builder does: what is not known is empty."""
    return re.sub(r"\$\{(\w+)\}", lambda match: variables.get(match[1], ""), text)


def files_of(path: Path) -> Iterator[Path]:
    """Yield the files that COPY would take from *path*."""
    if path.is_file():
        yield path
    for file in path.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc":
            yield file


def make_base() -> Stage:
    """Return the base image: a minimal Debian with its Python, named as in Docker's image."""
    folder = CACHE / f"base-{SUITE}"
    stage = Stage(
        f"base-{SUITE}",
        folder,
        {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
    )
    if (CACHE / f"base-{SUITE}.done").exists():
        return stage
    if shutil.which("debootstrap") is None:
        sys.exit("prove_image: debootstrap is missing (apt-get install debootstrap)")
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(folder)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (folder / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    (CACHE / f"base-{SUITE}.done").touch()
    print(f"base: {time.monotonic() - started:.1f} s", flush=True)
    return stage


def enter(folder: Path, *, read_only: bool, user: str = "0:0") -> list[str]:
    """Return a command prefix that runs the rest inside *folder*, in mounts of its own."""
    script = (
        'mount --bind "$0" "$0" && mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" && '
    )
    if read_only:
        script += 'mount -o remount,bind,ro "$0" && '
    # A private /tmp in memory, as Cloud Run and Compose give it.
    script += 'mount -t tmpfs -o mode=1777 tmpfs "$0/tmp" && '
    if not read_only and WHEELS.is_dir():
        script += f'mkdir -p "$0{WHEELS}" && mount --bind {WHEELS} "$0{WHEELS}" && '
    script += f'exec chroot --userspec={user} "$0" "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(folder)]


def run_in(folder: Path, command: str, *, workdir: str, environment: dict[str, str]) -> None:
    """Run *command* as RUN does, with this machine's way to the package indexes."""
    network = {}
    saved = {}
    for name in NETWORK_FILES:
        target = folder / name.lstrip("/")
        saved[target] = target.read_bytes() if target.exists() else None
        shutil.copyfile(name, target)
    if WHEELS.is_dir():
        network = {"PIP_FIND_LINKS": str(WHEELS)}
    network["PIP_CERT"] = "/etc/ssl/certs/ca-certificates.crt"
    variables = [f"{key}={value}" for key, value in (environment | network).items()]
    done = subprocess.run(
        [
            *enter(folder, read_only=False),
            "/usr/bin/env",
            "-i",
            *variables,
            "/bin/sh",
            "-ec",
            f"cd {workdir}; {command}",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    for target, content in saved.items():
        if content is None:
            target.unlink()
        else:
            target.write_bytes(content)
    wheels = folder / str(WHEELS).lstrip("/")
    if wheels.is_dir():
        wheels.rmdir()
    if done.returncode:
        sys.exit(f"prove_image: RUN failed ({done.returncode}): {command}\n{done.stdout[-4000:]}")


def megabytes(folder: Path) -> int:
    """Return the size of *folder* on disk."""
    out = subprocess.run(["du", "-sm", folder], capture_output=True, text=True, check=True).stdout
    return int(out.split()[0])


def normalise(name: str) -> str:
    """Return a distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def check_contents(name: str, image: Stage) -> None:
    """Refuse an image that runs as root or carries what only the build needs."""
    if image.user.split(":")[0] in ("0", "root"):
        sys.exit(f"prove_image: {name} runs as root")
    packages = {
        path.name for path in (image.folder / "opt/venv").glob("lib/python3*/site-packages/*")
    }
    if unwanted := packages & {
        "torch",
        "sentence_transformers",
        "transformers",
        "pip",
        "setuptools",
    }:
        sys.exit(f"prove_image: {name} carries {sorted(unwanted)}")
    bill = json.loads((image.folder / "usr/share/sbom/kaydang.cdx.json").read_text())
    listed = {normalise(component["name"]) for component in bill["components"]}
    installed = {
        normalise(path.name.split("-")[0])
        for path in (image.folder / "opt/venv").glob("lib/python3*/site-packages/*.dist-info")
    }
    if missing := installed - listed:
        sys.exit(f"prove_image: the bill of materials of {name} lacks {sorted(missing)}")


@contextmanager
def process(command: list[str], log: Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run *command* until the end of the block; its output goes to *log*."""
    with log.open("wb") as output:
        running = subprocess.Popen(  # type: ignore[call-overload]
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, **options
        )
        try:
            yield running
        finally:
            os.killpg(running.pid, signal.SIGTERM)
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, what: str, running: subprocess.Popen[bytes], log: Path) -> None:
    """Return when *port* is open; end when the process ended or took a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and running.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit(f"prove_image: {what} did not start:\n{log.read_text()[-3000:]}")


def in_image(image: Stage, environment: dict[str, str], command: list[str]) -> list[str]:
    """Return the command that runs *command* as the image would: its user and environment."""
    variables = [f"{key}={value}" for key, value in (image.environment | environment).items()]
    return [
        *enter(image.folder, read_only=True, user=image.user),
        "/usr/bin/env",
        "-i",
        "-C",
        image.workdir,
        *variables,
        *command,
    ]


def run_system(images: dict[str, Stage]) -> None:
    """Start everything, put a document into the bucket and ask for what only it says."""
    sys.path.insert(0, str(ROOT))
    from local.checkout import remove
    from local.postgres import start_postgres

    work = Path(tempfile.mkdtemp(prefix="kaydang-image-"))
    ports = {
        name: free_port()
        for name in ("storage", "pubsub", "ingest", "embed_worker", "dead_letters", "query")
    }
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        database = start_postgres(work / "postgres")
        stack.callback(remove, database.data_dir)
        stack.callback(database.stop)
        base = {
            "GOOGLE_CLOUD_PROJECT": "kaydangpt-image",
            "DOCUMENTS_BUCKET": "documents",
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{ports['storage']}",
            "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{ports['pubsub']}",
            "LOG_FORMAT": "text",
        }
        owner = {"DATABASE_URL": database.url}
        login = re.sub(r"//[^@]*@", "//{}:of-this-run@", database.url)
        worker_url = login.format("kaydang_worker_login")
        query_url = login.format("kaydang_query_login")
        outside = os.environ | base | {"PYTHONPATH": str(ROOT)}
        for name, module, state in (
            ("pubsub", "local.emulators.pubsub", work / "pubsub.sqlite"),
            ("storage", "local.emulators.storage", work / "bucket"),
        ):
            log = work / f"{name}.log"
            running = stack.enter_context(
                process(
                    [
                        sys.executable,
                        "-m",
                        module,
                        "--host",
                        "127.0.0.1",
                        "--port",
                        str(ports[name]),
                        "--state",
                        str(state),
                    ],
                    log,
                    env=outside,
                )
            )
            wait_for_port(ports[name], name, running, log)

        started = time.monotonic()
        done = subprocess.run(
            in_image(
                images["setup"],
                base
                | owner
                | {
                    "WORKER_DATABASE_URL": worker_url,
                    "QUERY_DATABASE_URL": query_url,
                    "INGEST_URL": f"http://127.0.0.1:{ports['ingest']}",
                    "EMBED_WORKER_URL": f"http://127.0.0.1:{ports['embed_worker']}",
                    "DEAD_LETTER_URL": f"http://127.0.0.1:{ports['dead_letters']}",
                },
                images["setup"].command,
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"prove_image: the set-up failed:\n{done.stdout}\n{done.stderr}")
        print(f"set-up from its image: {time.monotonic() - started:.1f} s")

        for name, function, extra in (
            ("ingest", "ingest", {"DATABASE_URL": worker_url}),
            ("embed_worker", "embed_worker", {"DATABASE_URL": worker_url}),
            (
                "dead_letters",
                "embed_worker",
                {"DATABASE_URL": worker_url, "FUNCTION_TARGET": "record_dead_letter"},
            ),
            ("query", "query", {"DATABASE_URL": query_url}),
        ):
            started = time.monotonic()
            log = work / f"{name}.log"
            image = images[function]
            running = stack.enter_context(
                process(
                    in_image(image, base | extra | {"PORT": str(ports[name])}, image.command), log
                )
            )
            wait_for_port(ports[name], name, running, log)
            print(f"{name} from its image: port open after {time.monotonic() - started:.1f} s")

        answer = ask_about_a_document(base, ports["query"], work)
        print(f"answer: {str(answer['answer'])[:100]!r}, model {answer['model']}")
        for command in (["sweep"], ["reconcile"], ["status"]):
            done = subprocess.run(
                in_image(images["ingest"], base | owner, ["python", "-m", "admin", *command]),
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                sys.exit(f"prove_image: admin {command[0]} failed:\n{done.stdout}{done.stderr}")
            print(f"admin {command[0]} from ingest's image: ok")


def ask_about_a_document(base: dict[str, str], port: int, work: Path) -> dict[str, object]:
    """Upload a document by Google's own client and return the answer that cites it."""
    os.environ.update(base)
    from google.cloud import storage

    client = storage.Client(project=base["GOOGLE_CLOUD_PROJECT"])
    started = time.monotonic()
    client.bucket(base["DOCUMENTS_BUCKET"]).blob("image/lamp.md").upload_from_string(
        "# Lamp room\n\nThe lamp room's code word is bergamot-seven.\n",
        content_type="text/markdown",
    )
    body = json.dumps({"question": "What is the code word of the lamp room?"}).encode()
    deadline = time.monotonic() + 90
    last = "no answer"
    while time.monotonic() < deadline:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/query", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                answer: dict[str, object] = json.load(response)
            if "bergamot-seven" in str(answer["answer"]) and answer["citations"]:
                print(f"from upload to a cited answer: {time.monotonic() - started:.1f} s")
                return answer
            last = json.dumps(answer)[:600]
        except (urllib.error.URLError, TimeoutError) as error:
            last = repr(error)
            if isinstance(error, urllib.error.HTTPError):
                last += error.read().decode()[:600]
        time.sleep(0.5)
    logs = "\n".join(f"== {log.name}\n{log.read_text()[-1500:]}" for log in work.glob("*.log"))
    sys.exit(f"prove_image: no cited answer: {last}\n{logs}")


if __name__ == "__main__":
    sys.exit(main())
