"""What differs between the record, the engine, the disk and the firewall of this host."""
