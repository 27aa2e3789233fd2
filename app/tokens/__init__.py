"""Tokens that the master token issues."""
