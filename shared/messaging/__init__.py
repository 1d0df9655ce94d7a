"""Reading, writing and publishing notifications and jobs."""
