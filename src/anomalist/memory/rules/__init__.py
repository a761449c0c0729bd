"""Rules in words: what is normal and what is not, induced from captions, matched by meaning, kept by version."""
