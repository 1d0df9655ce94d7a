"""The embedding model: its tokenizer and its runtime."""
