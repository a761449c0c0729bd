"""agent.choice"""
