"""Routes of the API, one module for each thing that people do."""
