"""What several entry points use, and the messages that they exchange."""
