"""Evidence to verdict: policy, severity, evidence reasoner, vision-language-model reasoner."""
