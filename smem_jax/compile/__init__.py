"""What a training step needs on machines that are not here: memory, time, exchanges of data."""
