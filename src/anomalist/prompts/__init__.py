"""Prompts: versioned text files, rendered strictly, and the forms of the replies to them."""
