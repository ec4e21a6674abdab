"""A small OIDC issuer of our own, run as a separate process for dev, demo and tests."""
