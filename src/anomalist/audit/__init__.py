"""The log of what was decided, for reports and audits."""
