"""What runs beside the agent: keys, proofs of identity, logins, and the client of the broker."""
