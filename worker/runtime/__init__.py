"""The container engine behind one small protocol."""
