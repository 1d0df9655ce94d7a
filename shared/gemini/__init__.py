"""The client of Gemini, and its requests."""
