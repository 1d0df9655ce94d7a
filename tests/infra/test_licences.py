"""The licences of everything that is locked, read from what is installed: no index is asked."""

from __future__ import annotations

import re
from email.message import Message
from importlib import metadata
from typing import cast

import pytest

from tests.infra.conftest import ROOT

_PERMISSIVE = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CNRI-Python",
    "ISC",
    "MIT",
    "MIT-CMU",
    "MIT-0",
    "PSF-2.0",
    "Zlib",
}
# Weak copyleft of a library that is used unchanged, from its own files, and can be exchanged there.
_USED_UNCHANGED = {
    "LGPL-3.0-only": {"psycopg", "psycopg-binary", "psycopg-pool"},
    "MPL-2.0": {"axe-playwright-python", "certifi", "hypothesis", "pathspec", "tqdm"},
}
_SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    # pypdfium2's own two; PDFium's third-party notices travel in the wheel.
    "BSD-3-Clause, Apache-2.0, dependency licenses": "BSD-3-Clause AND Apache-2.0",
}
# Their metadata says nothing; their files do.
_SAID_IN_FILES = {"axe-playwright-python": "MIT AND MPL-2.0"}
# A line of a lock file: name, extras, version, marker.
_PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==[^ ;\\]+ *(?:; *([^\\]+))?")
_LOCKS = [
    *sorted(str(f.relative_to(ROOT)) for f in ROOT.glob("functions/*/requirements.txt")),
    "local/requirements.txt",
    "tests/requirements.txt",
    "infra/model/requirements.txt",
    "infra/model/tracing/requirements.txt",
]


def _locked(lock: str) -> dict[str, str]:
    pins = {}
    for line in (ROOT / lock).read_text().splitlines():
        found = _PIN.match(line)
        if found:
            pins[found[1]] = (found[2] or "").strip()
    return pins


def _licence(name: str) -> str:
    if name in _SAID_IN_FILES:
        return _SAID_IN_FILES[name]
    described = cast(Message, metadata.metadata(name))
    expression = described.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = [
        value.split("::")[-1].strip()
        for value in described.get_all("Classifier") or []
        if value.startswith("License") and not value.endswith("OSI Approved")
    ]
    words = classifiers or (described.get("License") or "").strip().splitlines()[:1]
    return " OR ".join(_SPDX.get(word, word) for word in words)


def _is_allowed(name: str, expression: str) -> bool:
    def one(licence: str) -> bool:
        licence = licence.strip("() ")
        return licence in _PERMISSIVE or name in _USED_UNCHANGED.get(licence, set())

    return bool(expression) and all(
        any(one(choice) for choice in part.split(" OR ")) for part in expression.split(" AND ")
    )


@pytest.mark.parametrize("lock", _LOCKS)
def test_every_locked_package_has_a_licence_of_the_list(lock: str) -> None:
    """A package under another licence is named here with its reason, or not used."""
    refused = {}
    for name, marker in _locked(lock).items():
        try:
            licence = _licence(name)
        except metadata.PackageNotFoundError:
            # Only for another platform: nothing of it is in an image or on this machine.
            assert re.search(r"win32|emscripten|python_full_version", marker), f"{name} {marker}"
            continue
        if not _is_allowed(name, licence):
            refused[name] = licence
    assert refused == {}


@pytest.mark.parametrize(
    "lock", [*_LOCKS, "infra/sbom/requirements.txt", "infra/audit/requirements.txt"]
)
def test_every_locked_package_is_pinned_with_hashes(lock: str) -> None:
    """pip --require-hashes, which the images are built with, takes nothing else."""
    # A requirement's hashes stand in the indented lines below it.
    blocks = re.split(r"^(?=[A-Za-z0-9])", (ROOT / lock).read_text(), flags=re.MULTILINE)
    pins = [block for block in blocks if "==" in block]
    assert pins
    assert [block.split()[0] for block in pins if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("lock", [lock for lock in _LOCKS if lock.startswith("functions/")])
def test_no_function_brings_a_package_that_hides_ours(lock: str) -> None:
    """PyPI has a package named shared, which would be imported instead."""
    assert not {"shared", "functions", "local", "torch", "sentence-transformers"} & set(
        _locked(lock)
    )


_VENDORED = {
    "functions/query/web/vendor/pdfjs-6.5.438": {
        "LICENSE": "Apache License",
        "cmaps/LICENSE": "Redistribution and use in source and binary forms",
        "standard_fonts/LICENSE_FOXIT": "Redistribution and use in source and binary forms",
        "wasm/LICENSE_JBIG2": "Redistribution and use in source and binary forms",
        "wasm/LICENSE_OPENJPEG": "2-clauses",
        "wasm/LICENSE_PDFJS_JBIG2": "Apache License",
        "wasm/LICENSE_PDFJS_OPENJPEG": "Redistribution and use in source and binary forms",
    },
    "functions/query/web/vendor/utif2-4.1.0": {
        "LICENSE": "Permission is hereby granted, free of charge",
        "LICENSE_PAKO": "Permission is hereby granted, free of charge",
    },
    "tests/browser/renderers/marked": {"LICENSE": "Permission is hereby granted, free of charge"},
    "tests/browser/renderers/markdown-it": {
        "LICENSE": "Permission is hereby granted, free of charge"
    },
}


def test_scripts_of_others_are_here_with_their_licences() -> None:
    """Every folder of such scripts is named, and holds the texts that its licences ask for."""
    folders = {
        str(path.relative_to(ROOT))
        for parent in ("functions/query/web/vendor", "tests/browser/renderers")
        for path in (ROOT / parent).iterdir()
        if path.is_dir()
    }
    assert folders == set(_VENDORED)
    for folder, licences in _VENDORED.items():
        for file, words in licences.items():
            assert words in (ROOT / folder / file).read_text("utf-8", "replace"), f"{folder}/{file}"
