"""The layer of many machines that meet at Redis or Valkey."""
