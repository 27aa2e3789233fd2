"""Bringing the record back from what this host holds, after the store was emptied."""
