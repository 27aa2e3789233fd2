"""`./lightd console`: one container's socket in a terminal."""
