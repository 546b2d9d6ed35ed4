//! What a server, or who poses as one, sends before and around the changes. Called by the fuzz
//! target and by the relay's integration tests.

use tidegate_relay::endpoint::postgres::hostile;

pub fn run(bytes: &[u8]) {
    hostile::read_frames(bytes);
}
