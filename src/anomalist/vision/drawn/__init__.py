"""Drawn cases: generated pictures with a defect of which everything is known, for the model that sees."""
