"""How any GPT-2 is trained: the loop, and what makes it cheaper."""
