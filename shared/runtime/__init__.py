"""The start of every process: logs, traces, singletons, and the identity of callers."""
