"""The centre: tickets, and a dialogue pipeline per session."""
