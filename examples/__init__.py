"""Features that show how to write your own."""
