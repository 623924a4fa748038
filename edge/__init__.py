"""One POP: thin IO around core. Speech comes in, a face goes out."""
