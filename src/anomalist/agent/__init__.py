"""Reasoning over evidence: reasoners, policy, claims."""
