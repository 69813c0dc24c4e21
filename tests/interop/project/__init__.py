"""A project that other people's servers, layers and consumers are tried with, in an environment of its own."""
