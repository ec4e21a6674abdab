"""Benches of the doors: what it costs to be let in, to ask, and to ask about a token."""
