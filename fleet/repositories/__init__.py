"""The record, read and changed: one module per kind of thing."""
