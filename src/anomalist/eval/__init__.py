"""Evaluation: benchmark data sets, metrics, and one module for each benchmark."""
