"""Worker processes: conversations in processes of their own, warm before anybody asks (docs/adr/0015)."""
