"""The edges to Celery: sending a job's id to its queue, and running it where it is taken from there."""
