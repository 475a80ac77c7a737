"""Facts, questions and text from files, their wordings, and their encoding as token arrays."""
