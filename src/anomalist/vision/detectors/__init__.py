"""Anomaly detectors: surface, unsupervised (zero-shot, MuSc) and reference; what they are built from."""
