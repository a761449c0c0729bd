"""Reports from saved records: no model, no detector."""
