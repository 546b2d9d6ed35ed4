//! What both ends rely on, checked from outside: wire format, certificates, tunnel.

mod identity;
mod tcp;
mod tunnel;
mod wire;
mod world;
