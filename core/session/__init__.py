"""A session without its media: states, claims, budget."""
