"""agent.models"""
