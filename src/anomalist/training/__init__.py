"""Everything that only trains: SurfaceNet and the small language model. Nothing that runs imports it."""
