"""Video anomaly detection for one fixed camera: background, optical flow, objects, tracks, scores, events."""
