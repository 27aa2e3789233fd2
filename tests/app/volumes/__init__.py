"""The file API through a real files process."""
