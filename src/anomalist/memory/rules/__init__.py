"""Rules: records and store, induction from captions (AnomalyRuler), matching, and checks of changes."""
