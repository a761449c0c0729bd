"""Prompt templates (Jinja, versioned) and the schemas of structured model replies."""
