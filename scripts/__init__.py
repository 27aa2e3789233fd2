"""The command line behind `./lightd`: it starts, watches, ends and checks the processes of this host."""
