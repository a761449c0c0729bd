"""Prompt templates (Jinja2, versioned) and the schemas of the replies to them."""
