"""Valetkey: just-in-time credentials for non-human identities, whose revocations are proven."""

__version__ = "0.1.0"
