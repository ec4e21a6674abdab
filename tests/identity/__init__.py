"""Identity: proofs that are accepted, and every way in which one is refused."""
