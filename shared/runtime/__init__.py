"""What every process needs at its start: logs, traces, singletons, and who calls it."""
