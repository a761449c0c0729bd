"""Feature extraction: SurfaceNet and backbones of transformers."""
