"""What runs on a Docker host: jobs, the agent, and the engine behind one protocol."""
