"""Whether a picture as a whole is like what was learned, and whether a run of pictures drifts."""
