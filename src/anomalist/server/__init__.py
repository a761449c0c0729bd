"""The server: an HTTP API and a page over the composition root, for several people at a time."""
