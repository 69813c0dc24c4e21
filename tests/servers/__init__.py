"""Real servers that tests start from the machine's binaries, on free ports of 127.0.0.1, and stop by process id."""
