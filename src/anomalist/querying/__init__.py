"""Typed queries over the records of runs, executed by SQL: records as tables, query, text form, results."""
