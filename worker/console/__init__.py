"""From the engine's log of a container to its console, every byte once."""
