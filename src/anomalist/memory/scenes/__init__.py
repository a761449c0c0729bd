"""Remembered scenes, normal and anomalous, and what they say to a caption."""
