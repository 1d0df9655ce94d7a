"""The release of this tree; CHANGELOG.md says what is in it."""

VERSION = "0.1.0"
