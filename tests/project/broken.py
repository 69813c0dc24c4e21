"""An application whose module fails."""

application = 1 / 0
