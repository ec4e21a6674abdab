"""Fakes behind the ports: shipped, and held to the same contract suites as the real things."""
