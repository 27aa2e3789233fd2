"""The domain of Lightd: what a fleet of container hosts is and how its record changes."""

__version__ = "0.1.0"
