"""
Start our storage emulator with the options of fake-gcs-server.

Where events go is asked of that server by -event options; ours takes the notification that
local/setup.py makes. An option that local/docker-compose.yml does not use is refused.
"""

from __future__ import annotations

import argparse
import os
import sys

parser = argparse.ArgumentParser(allow_abbrev=False)
for name in ("scheme", "host", "port", "backend", "filesystem-root", "external-url"):
    parser.add_argument(f"-{name}", required=True)
for name in ("pubsub-project-id", "pubsub-topic", "bucket", "list"):
    parser.add_argument(f"-event.{name}", required=True)
options = vars(parser.parse_args())
os.execv(
    sys.executable,
    [
        sys.executable,
        *("-m", "local.emulators.storage"),
        *("--host", options["host"], "--port", options["port"]),
        *("--state", f"{options['filesystem_root']}/state"),
        *("--allowed-hosts", "storage,localhost,127.0.0.1"),
    ],
)
