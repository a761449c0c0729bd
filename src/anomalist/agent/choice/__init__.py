"""Multiple choice: option parsing, matching against a record, and option probabilities of a model."""
