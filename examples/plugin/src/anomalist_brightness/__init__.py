"""Example plug-ins for anomalist: one detector, one feature extractor, one reasoner, one exporter."""
