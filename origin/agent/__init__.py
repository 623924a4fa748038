"""Somebody else's program as the brain of a session: its WebSocket, its sound, its words."""
