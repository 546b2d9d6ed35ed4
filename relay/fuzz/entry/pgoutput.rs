//! One message of the change stream, in and out of a streamed transaction. Called by the fuzz
//! target and by the relay's integration tests.

use tidegate_relay::endpoint::postgres::pgoutput::decode;

pub fn run(bytes: &[u8]) {
    for streamed in [false, true] {
        if decode(bytes, streamed).is_err() {
            continue;
        }
        // A message ends where its fields say: no part of it is one, and nothing may follow it.
        let shorter = &bytes[..bytes.len() - 1];
        assert!(decode(shorter, streamed).is_err(), "a part was taken");
        let longer = [bytes, &[0]].concat();
        assert!(decode(&longer, streamed).is_err(), "more was taken");
    }
}
