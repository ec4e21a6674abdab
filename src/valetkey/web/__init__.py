"""HTTP: routes, doors, strict bodies and problems. It decides nothing; the flows do."""
