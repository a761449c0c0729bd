"""The small vision-language model: architecture, synthetic documents, curriculum and training."""
