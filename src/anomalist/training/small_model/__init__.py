"""training.small_model"""
