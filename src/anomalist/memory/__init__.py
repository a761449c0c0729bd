"""Retrieval memory: case store, rules, remembered scenes, sentence embeddings and the vector index."""
