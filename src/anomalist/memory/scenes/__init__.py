"""Scene memory: normal and anomalous scene descriptions, their index, scoring and SQLite store."""
