"""
py3langid's model as files that are mapped: python -m shared.language_identifier

The package carries it packed: half a second and 70 MB in each process that unpacks it. Unpacked
once, it is there at once, and processes share what they touch of it. Where nothing was unpacked,
the packed one serves.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from py3langid.langid import MODEL_FILE, LanguageIdentifier

_ARRAYS = ("weights", "priors", "rows", "row_of_state", "feature_of_state")
_CLASSES = "classes.json"


@cache
def open_identifier() -> LanguageIdentifier:
    """Return the identifier, which gives probabilities."""
    folder = _folder()
    try:
        weights, priors, *states = (
            np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS
        )
        classes = json.loads((folder / _CLASSES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    # It walks through these an element at a time, which a view of memory is made for.
    rows, row_of_state, feature_of_state = (memoryview(array) for array in states)
    return LanguageIdentifier(
        weights,
        priors,
        classes,
        rows,
        feature_of_state,
        norm_probs=True,
        tk_row=row_of_state,
    )


def unpack() -> None:
    """Write the files that open_identifier maps, if they are not there."""
    folder = _folder()
    if folder.exists():
        return
    packed = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    arrays = (
        packed.nb_ptc,
        packed.nb_pc,
        np.frombuffer(packed.tk_nextmove, dtype=packed.tk_nextmove.typecode),
        np.frombuffer(packed.tk_row, dtype=packed.tk_row.typecode),
        np.array(packed.tk_output, dtype=np.int32),
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        for name, array in zip(_ARRAYS, arrays, strict=True):
            np.save(unfinished / f"{name}.npy", array)
        (unfinished / _CLASSES).write_text(json.dumps(packed.nb_classes), encoding="utf-8")
        # mkdtemp's folder is its owner's alone; an image's functions run as another user.
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    except OSError:
        # Another process may have been first.
        if not folder.exists():
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _folder() -> Path:
    """Return where the model of exactly this release belongs in this Python's environment."""
    return Path(sys.prefix) / "share" / f"py3langid-{version('py3langid')}"


if __name__ == "__main__":
    unpack()
