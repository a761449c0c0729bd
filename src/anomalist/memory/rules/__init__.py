"""memory.rules"""
