"""Question answering without a language model: intent classification, tools, claims checked by evidence."""
