"""Jobs: how far a piece of work is."""
