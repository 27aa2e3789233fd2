"""Containers: what clients run, from creation to deletion."""
