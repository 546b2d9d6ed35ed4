//! Every type of message between agent and relay, as one frame. Called by the fuzz target and by
//! the relay's integration tests.

use tidegate_shared::wire::{
    AgentMessage, LinkMessage, LinkOpening, Message, OpenAnswer, OpenRequest, PairAnswer, PairAsk,
    RelayMessage, decode, encode,
};

pub fn run(bytes: &[u8]) {
    one::<PairAsk>(bytes);
    one::<PairAnswer>(bytes);
    one::<AgentMessage>(bytes);
    one::<RelayMessage>(bytes);
    one::<OpenRequest>(bytes);
    one::<OpenAnswer>(bytes);
    one::<LinkOpening>(bytes);
    one::<LinkMessage>(bytes);
}

/// What was accepted can be sent on, and is then the same message. The input itself may spell a
/// number longer than needed, so it is the second writing that is compared.
fn one<M: Message>(bytes: &[u8]) {
    let Ok(message) = decode::<M>(bytes) else {
        return;
    };
    let once = encode(&message).expect("what came in under the cap goes out under it");
    let again = decode::<M>(&once).expect("our own writing is read");
    let twice = encode(&again).expect("as before");
    assert_eq!(once, twice);
}
