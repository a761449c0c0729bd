"""Several cameras followed in one process, as one stream of alerts."""
