"""The old name of `python -m admin.evaluation`, for one release."""

import runpy

if __name__ == "__main__":
    runpy.run_module("admin.evaluation", run_name="__main__", alter_sys=True)
