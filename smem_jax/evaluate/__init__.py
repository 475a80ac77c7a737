"""What a model answers, and how likely it finds answers and text."""
