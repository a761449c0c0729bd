"""Measuring: data sets, metrics, runner."""
