"""Vision: media input, features, detectors of pictures, motion in video, calibration and regions."""
