"""The agent of a host: what follows the engine, delivers what cannot wait, and mends what died half-way."""
