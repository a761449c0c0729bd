"""agent.reasoning"""
