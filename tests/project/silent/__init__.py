"""A project without WebSockets."""
