//! Pairing against a real store, alone and through real connections on loopback.

mod live;
mod redeem;
mod strangers;
mod world;
