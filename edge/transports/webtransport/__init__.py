"""WebTransport links: access units as QUIC datagrams, control messages on a stream."""
