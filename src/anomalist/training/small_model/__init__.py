"""Train the small vision-language model (``--model builtin``) on synthetic cases."""
