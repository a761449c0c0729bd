"""Files on disk: atomic writes, JSON Lines, run folders, SQLite."""
