"""Message bus and key-value store shared by POPs and origin: the protocols and what implements them."""
