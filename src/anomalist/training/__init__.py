"""Training only: pretraining of SurfaceNet, the small vision-language model, and their synthetic data."""
