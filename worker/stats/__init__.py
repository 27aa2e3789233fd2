"""What the processes of a container use, from the kernel's own files: no engine is asked."""
