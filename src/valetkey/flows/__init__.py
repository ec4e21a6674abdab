"""The verbs: one file per journey. Each flow owns its transactions; nobody else commits."""
