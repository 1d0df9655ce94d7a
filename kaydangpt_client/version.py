"""The release that this client belongs to."""

VERSION = "0.1.0"
