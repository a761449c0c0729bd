"""From evidence and recall to verdicts and answers: reasoning, multiple choice, tools, asking and chat."""
