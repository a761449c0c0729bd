"""The agent: models, reasoning from evidence to verdict, multiple choice, question answering, chat, tools."""
