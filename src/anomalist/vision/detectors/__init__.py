"""vision.detectors"""
