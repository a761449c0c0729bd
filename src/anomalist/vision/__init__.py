"""From files to evidence: media, features, detectors, calibration, regions; motion for video."""
