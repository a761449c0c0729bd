"""The edge: profiles as ONNX with a runner of one file, and models that anomalib exported as detectors."""
