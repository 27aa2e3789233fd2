"""Volumes: folders of limited size on a host, and the files in them."""
