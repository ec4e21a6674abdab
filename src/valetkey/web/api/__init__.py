"""The `/v1` routes, a file for each noun."""
