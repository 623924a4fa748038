"""What the character says: messages, sounds, the mouth that makes them, and what they sound like."""
