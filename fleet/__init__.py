"""The domain of Lightd: what a fleet of container hosts is and how its record changes."""
