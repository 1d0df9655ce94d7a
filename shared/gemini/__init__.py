"""The only client of Gemini, and what is asked of it."""
