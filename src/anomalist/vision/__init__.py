"""Eyes: pictures to evidence. Never imports the agent."""
