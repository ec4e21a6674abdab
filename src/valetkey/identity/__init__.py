"""IN: a proof of identity becomes a Caller, or is refused. Nothing here decides what it may do."""
