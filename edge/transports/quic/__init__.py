"""QUIC for many viewers on one socket: the endpoint, and the engines that do the protocol."""
