"""Detectors: from normal pictures, zero-shot, mutual scoring (MuSc), and comparison with a reference."""
