"""What reads the slots that a fact trains: its tokens, its paraphrases, other facts, prose."""
