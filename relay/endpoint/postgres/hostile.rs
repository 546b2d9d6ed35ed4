//! The frame readers' door for hostile bytes: the fuzzer and its stand-in in the integration tests
//! call it, nothing else does. It decides nothing; it panics where a reader breaks its promise.

use bytes::BytesMut;

use super::capture::keepalive;
use super::frame::{Frame, data_row, pop, server_error};

/// Reads `bytes` as what a server sends: all frames and, of each, every reading that its tag could
/// lead to.
///
/// # Panics
///
/// When a reader does, or when frames depend on how the bytes were cut on their way.
pub fn read_frames(bytes: &[u8]) {
    let (at_once, is_refused) = frames(&[bytes]);
    for frame in &at_once {
        server_error(&frame.body);
        let _ = data_row(&frame.body);
        let _ = keepalive(&frame.body);
    }
    let middle = bytes.len() / 2;
    let (in_two, is_refused_too) = frames(&[&bytes[..middle], &bytes[middle..]]);
    assert_eq!(at_once, in_two, "frames depend on how their bytes arrive");
    assert_eq!(is_refused, is_refused_too);
}

/// The frames of bytes that arrive in these parts, and whether the reader refused the rest.
fn frames(parts: &[&[u8]]) -> (Vec<Frame>, bool) {
    let mut buffer = BytesMut::new();
    let mut found = Vec::new();
    for part in parts {
        buffer.extend_from_slice(part);
        loop {
            match pop(&mut buffer) {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}
