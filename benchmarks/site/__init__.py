"""The Django sites that are measured: one project, whose paths say which of them it is."""
