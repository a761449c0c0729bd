"""Rules in words, of what is normal and what isn't: induced, edited, matched by meaning, kept by version."""
