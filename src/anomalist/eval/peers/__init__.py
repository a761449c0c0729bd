"""Detectors of others in the same evaluation: in an environment of their own, or as plain baselines."""
