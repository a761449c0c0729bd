"""The parts of the runner: joined to one file on export, they need numpy, Pillow and onnxruntime alone."""
