"""Motion evidence: what moves where, how fast, and whether that is usual at that place. No weights needed."""
