"""Inspection on a cluster, by Ray Data: the same records as on one machine."""
