"""Chat about records: with a language model and tools, or by measurement alone."""
