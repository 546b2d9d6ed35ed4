//! PostgreSQL's side of a session as it passes by: where its messages end, the cancel key in it, and
//! the message that ends it from here.

/// A message's kind and length.
const HEADER_BYTES: usize = 5;
/// BackendKeyData of protocol 3.0 holds eight bytes.
const KEY_BYTES: usize = 8;

/// Follows messages without keeping them.
#[derive(Debug, Default)]
pub(super) struct Backend {
    header: Vec<u8>,
    /// Bytes of the message's body still to come.
    left: usize,
    /// The key, as far as it has come.
    key: Vec<u8>,
    is_in_key: bool,
    ready: bool,
}

impl Backend {
    pub(super) fn note(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                if self.is_in_key {
                    self.key.extend_from_slice(&bytes[..taken]);
                }
                self.left -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            let taken = (HEADER_BYTES - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if let [kind, a, b, c, d] = self.header[..] {
                self.begin(kind, u32::from_be_bytes([a, b, c, d]));
            }
        }
    }

    fn begin(&mut self, kind: u8, length: u32) {
        self.header.clear();
        self.left = (length as usize).saturating_sub(4);
        self.is_in_key = kind == b'K' && self.left == KEY_BYTES && self.key.is_empty();
        self.ready |= kind == b'Z';
    }

    /// Whether what came so far ends between two messages.
    pub(super) fn is_between(&self) -> bool {
        self.left == 0 && self.header.is_empty()
    }

    /// The key with which this session's statements are cancelled.
    pub(super) fn key(&self) -> Option<[u8; 8]> {
        self.key[..].try_into().ok()
    }

    /// The session is logged in.
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }
}

/// An ErrorResponse that ends the session (PostgreSQL manual, 55.8 "Error and Notice Message Fields").
pub(super) fn fatal(sqlstate: &str, text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in [
        (b'S', "FATAL"),
        (b'V', "FATAL"),
        (b'C', sqlstate),
        (b'M', text),
    ] {
        body.push(kind);
        body.extend(value.bytes().filter(|byte| *byte != 0));
        body.push(0);
    }
    body.push(0);
    // One line for people.
    let length = (body.len() + 4) as u32;
    [&b"E"[..], &length.to_be_bytes(), &body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &[u8] =
        b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08Z\0\0\0\x05I";

    #[test]
    fn boundaries_key_and_login_are_seen_whatever_the_pieces() {
        for size in 1..=GREETING.len() {
            let mut backend = Backend::default();
            for piece in GREETING.chunks(size) {
                backend.note(piece);
            }
            assert_eq!(backend.key(), Some([1, 2, 3, 4, 5, 6, 7, 8]), "{size}");
            assert!(backend.is_ready() && backend.is_between());
            backend.note(b"D\0\0\0\x0b");
            assert!(!backend.is_between());
            backend.note(b"1234567");
            assert!(backend.is_between());
        }
    }

    #[test]
    fn our_own_last_message_is_one_whole_message() {
        let mut backend = Backend::default();
        let message = fatal("57P01", "the relay\0 stops");
        backend.note(&message);
        assert!(backend.is_between());
        let text = String::from_utf8_lossy(&message);
        assert!(text.contains("SFATAL\0VFATAL\0C57P01\0Mthe relay stops\0\0"));
    }
}
