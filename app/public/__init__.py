"""What anybody may ask: whether it runs, whether it works, what it offers."""
