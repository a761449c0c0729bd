"""The small vision-language model that comes with the package: its words, data, training and weights."""
