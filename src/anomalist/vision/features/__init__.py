"""vision.features"""
