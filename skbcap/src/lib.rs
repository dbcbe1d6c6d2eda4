//! skbcap: who sent this packet.
