"""Chat models (LangChain): local transformers, OpenAI-compatible servers, scripted; structured output."""
