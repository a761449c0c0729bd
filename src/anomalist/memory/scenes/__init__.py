"""memory.scenes"""
