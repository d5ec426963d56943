"""Unwinding tables and line numbers, read by pyelftools, which is imported at the first question."""
