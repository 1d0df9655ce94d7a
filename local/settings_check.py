"""
Print the settings that the functions cannot read, one fault a line; `make run` does so first.

    python -m local.settings_check
"""

from __future__ import annotations

import sys

from functions.embed_worker.settings import Settings as EmbedWorkerSettings
from functions.ingest.settings import Settings as IngestSettings
from functions.query.settings import QuerySettings
from shared.settings import HostSettings, PushSettings, TraceSettings, find_faults

_ALL = (
    IngestSettings,
    EmbedWorkerSettings,
    QuerySettings,
    PushSettings,
    HostSettings,
    TraceSettings,
)


def main() -> None:
    """Print the faults; exit with 1 if there are some."""
    faults = dict.fromkeys(fault for settings in _ALL for fault in find_faults(settings))
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
