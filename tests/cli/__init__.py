"""The command line and the SDK, against a broker on loopback."""
