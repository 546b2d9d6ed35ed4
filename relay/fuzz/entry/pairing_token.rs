//! A pairing token as somebody pasted it. Called by the fuzz target and by the relay's integration
//! tests.

use tidegate_shared::pairing::PairingToken;

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(token) = PairingToken::parse(text) else {
        return;
    };
    let once = token.encode().expect("what was accepted keeps the bounds");
    let again = PairingToken::parse(&once).expect("our own writing is read");
    assert_eq!(token.relays, again.relays);
    assert_eq!(token.ca_pins, again.ca_pins);
    assert_eq!(token.id, again.id);
    assert_eq!(token.secret.expose(), again.secret.expose());
}
