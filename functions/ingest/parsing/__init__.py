"""
Turn the bytes of a document into blocks of text, a module a format.

Everything here is pure: it reads a binary stream and yields values. It runs in the parser child
(see sandbox.py), so a parser may be slow, hungry or crash without harm to the function.
"""
