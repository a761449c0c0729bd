"""A small vision-language model of our own: its words, its data, its training. No weights ship yet."""
