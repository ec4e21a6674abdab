"""How speed holds as numbers grow and things break: `python -m bench.growth`."""
