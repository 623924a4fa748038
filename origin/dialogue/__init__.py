"""What happens between a viewer's words and the character's voice."""
