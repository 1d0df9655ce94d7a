"""The old name of `kaydangpt migrate`, for one release."""

import runpy

if __name__ == "__main__":
    runpy.run_module("admin.migrate", run_name="__main__", alter_sys=True)
