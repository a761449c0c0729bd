"""Feature extractors: the shipped SurfaceNet, and vision backbones of transformers."""
