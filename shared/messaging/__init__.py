"""Notifications and jobs: how they are read, written and published."""
