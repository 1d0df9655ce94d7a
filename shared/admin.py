"""The old name of `python -m admin`, for one release."""

import runpy

if __name__ == "__main__":
    runpy.run_module("admin", run_name="__main__", alter_sys=True)
