"""The network pool: ports that containers may take."""
