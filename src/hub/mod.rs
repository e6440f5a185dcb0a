//! FLOOR 2: the embedded Socket.IO server, for rooms without the platform.
