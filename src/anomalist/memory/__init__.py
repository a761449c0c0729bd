"""What is remembered: normal pictures, cases, rules, scenes. Never imports the agent."""
