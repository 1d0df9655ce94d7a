"""
Look up advisories for what is locked, and write each image's bill of materials.

    make audit

Asks PyPI's advisory service through pip-audit, then OSV. Where neither is reached nothing is
claimed: what was not looked up is listed, and AUDIT_REQUIRED=true makes that an error.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "build" / "audit"
BILLS = ROOT / "build" / "sbom"
LOCKS = [
    *sorted(ROOT.glob("functions/*/requirements.txt")),
    ROOT / "local" / "requirements.txt",
    ROOT / "tests" / "requirements.txt",
    ROOT / "infra" / "model" / "requirements.txt",
    ROOT / "infra" / "model" / "tracing" / "requirements.txt",
    ROOT / "infra" / "sbom" / "requirements.txt",
    ROOT / "infra" / "audit" / "requirements.txt",
]
SERVICES = ("pypi", "osv")
# https://osv.dev/vulnerability/PYSEC-2018-28
KNOWN_VULNERABLE = "requests==2.19.0\n"
PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^ ;\\]+)", re.MULTILINE)


def main() -> None:
    """Audit, write, and end with an error where something is vulnerable."""
    install_tools()
    vulnerable = audit()
    write_bills()
    sys.exit(1 if vulnerable else 0)


def install_tools() -> None:
    """Make an environment of their own from their lock file."""
    uv = [sys.executable, "-m", "uv"]
    if not (TOOLS / "bin" / "python").exists():
        subprocess.run([*uv, "venv", "--quiet", str(TOOLS)], check=True)
    lock = ROOT / "infra" / "audit" / "requirements.txt"
    python = TOOLS / "bin" / "python"
    install = ["pip", "sync", "--quiet", "--require-hashes", "--python", str(python), str(lock)]
    subprocess.run([*uv, *install], check=True)


def audit() -> bool:
    """Look up every lock file; return whether anything is vulnerable."""
    service = next((name for name in SERVICES if answers(name)), None)
    if service is None:
        packages = {pin for lock in LOCKS for pin in PIN.findall(lock.read_text())}
        print(
            f"NOT LOOKED UP: no advisory service answers here ({', '.join(SERVICES)}), so nothing"
            f" is known of {len(packages)} pinned packages in {len(LOCKS)} lock files. Run"
            " make audit where pypi.org or api.osv.dev can be reached."
        )
        if os.environ.get("AUDIT_REQUIRED") == "true":
            sys.exit(2)
        return False
    vulnerable = False
    for lock in LOCKS:
        found = look_up(lock, service)
        if found is None:
            sys.exit(f"{lock.relative_to(ROOT)}: {service} stopped answering; run it again")
        names = [f"{one['name']} {one['version']}: {known}" for one, known in found]
        print(f"{lock.relative_to(ROOT)}: {service} knows of {len(names)} advisories")
        print("".join(f"  {name}\n" for name in names), end="")
        vulnerable = vulnerable or bool(names)
    return vulnerable


def answers(service: str) -> bool:
    """Return whether *service* knows what is known: a mirror may answer and know of nothing."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(KNOWN_VULNERABLE)
        file.flush()
        return bool(look_up(Path(file.name), service, "--no-deps"))


def look_up(lock: Path, service: str, *options: str) -> list[tuple[dict[str, str], str]] | None:
    """Return (package, advisory) of a lock file, None if the service did not answer."""
    done = subprocess.run(
        [
            *(TOOLS / "bin" / "pip-audit", "--requirement", lock),
            *(options or ("--require-hashes",)),
            *("--disable-pip", "--progress-spinner", "off", "--format", "json"),
            *("--vulnerability-service", service, "--timeout", "10"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return None
    for package in packages:
        if "skip_reason" in package:
            print(f"  NOT LOOKED UP: {package['name']}: {package['skip_reason']}")
    return [
        (package, vulnerability["id"])
        for package in packages
        for vulnerability in package.get("vulns", [])
    ]


def write_bills() -> None:
    """Write what each function's image will hold, as CycloneDX JSON."""
    BILLS.mkdir(parents=True, exist_ok=True)
    for lock in ROOT.glob("functions/*/requirements.txt"):
        bill = BILLS / f"{lock.parent.name}.cdx.json"
        tool = [str(TOOLS / "bin" / "cyclonedx-py"), "requirements", "--output-reproducible"]
        options = ["--of", "JSON", "-o", str(bill), str(lock)]
        subprocess.run([*tool, *options], check=True, capture_output=True)
        components = len(json.loads(bill.read_text())["components"])
        print(f"{bill.relative_to(ROOT)}: {components} components")


if __name__ == "__main__":
    main()
