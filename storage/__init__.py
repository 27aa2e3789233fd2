"""The volumes' file system: safe paths, reading and writing, archives, quota drivers, transfers."""
