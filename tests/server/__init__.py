"""Outside-in tests of the protocol server: real sockets, bytes built and judged by hand."""
