"""The code of the processes."""
