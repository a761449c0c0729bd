"""A second opinion on what a network video recorder says of its clips."""
