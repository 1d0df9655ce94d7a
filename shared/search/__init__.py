"""The search for passages: the question's words, and the one statement that finds chunks."""
