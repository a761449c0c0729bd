"""The audit log: what was decided, on what, and by whom; verified, replayed and exported."""
