"""What only trains and draws: SurfaceNet's pretraining, and synthetic cases. Nothing that runs imports it."""
