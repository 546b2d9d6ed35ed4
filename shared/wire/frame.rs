//! Framing: lengths, caps, and reading and writing messages on a byte stream.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::Message;
use crate::Class;

const LENGTH_BYTES: usize = 4;
const TAG_BYTES: usize = 3;
const HEADER_BYTES: usize = LENGTH_BYTES + TAG_BYTES;
/// bincode 2, standard configuration. Another codec would be another number.
const CODEC_BINCODE_2: u8 = 1;
const SCHEMA: u16 = 1;

/// Why a message could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("the peer closed the stream before a {message}")]
    Closed { message: &'static str },
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
    #[error("a {message} of {bytes} bytes is over its limit")]
    TooLarge { message: &'static str, bytes: usize },
    #[error("a frame of codec {codec}, schema {schema} can't be read by this version")]
    Unknown { codec: u8, schema: u16 },
    #[error("a {message} can't be decoded")]
    Malformed { message: &'static str },
}

impl WireError {
    pub fn class(&self) -> Class {
        match self {
            WireError::Closed { .. } | WireError::Io(_) => Class::Retry,
            WireError::Unknown { .. } => {
                Class::Operator("update the older of tidegate-agent and tidegate-relay")
            }
            WireError::TooLarge { .. } | WireError::Malformed { .. } => Class::Bug,
        }
    }
}

/// One whole frame. Zeroed after use, because some messages carry a secret.
pub fn encode<M: Message>(message: &M) -> Result<Zeroizing<Vec<u8>>, WireError> {
    let payload = bincode::encode_to_vec(message, bincode::config::standard())
        .map_err(|_| WireError::Malformed { message: M::NAME })?;
    let payload = Zeroizing::new(payload);
    if payload.len() > M::BYTES_MAX {
        return Err(WireError::TooLarge {
            message: M::NAME,
            bytes: payload.len(),
        });
    }
    let mut frame = Zeroizing::new(Vec::with_capacity(HEADER_BYTES + payload.len()));
    // The caps are far below 4 GiB.
    frame.extend_from_slice(&((payload.len() + TAG_BYTES) as u32).to_be_bytes());
    frame.push(CODEC_BINCODE_2);
    frame.extend_from_slice(&SCHEMA.to_be_bytes());
    frame.extend_from_slice(&payload);
    Ok(frame)
}

/// Decodes exactly one whole frame.
pub fn decode<M: Message>(frame: &[u8]) -> Result<M, WireError> {
    let (header, payload) = frame
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or(WireError::Malformed { message: M::NAME })?;
    let length = payload_length::<M>(header)?;
    if length != payload.len() {
        return Err(WireError::Malformed { message: M::NAME });
    }
    decode_payload(payload)
}

/// Writes one message and flushes. Not cancel safe: a dropped future may leave half a frame.
pub async fn write_message<M, W>(stream: &mut W, message: &M) -> Result<(), WireError>
where
    M: Message,
    W: AsyncWrite + Unpin,
{
    let frame = encode(message)?;
    stream.write_all(&frame).await?;
    stream.flush().await?;
    Ok(())
}

/// Reads one message and not one byte more, so that raw bytes may follow it. Not cancel safe.
pub async fn read_message<M, R>(stream: &mut R) -> Result<M, WireError>
where
    M: Message,
    R: AsyncRead + Unpin,
{
    let mut header = [0; HEADER_BYTES];
    read_header::<M, R>(stream, &mut header).await?;
    let length = payload_length::<M>(&header)?;
    let mut payload = Zeroizing::new(vec![0; length]);
    stream.read_exact(&mut payload).await?;
    decode_payload(&payload)
}

async fn read_header<M, R>(stream: &mut R, header: &mut [u8; HEADER_BYTES]) -> Result<(), WireError>
where
    M: Message,
    R: AsyncRead + Unpin,
{
    let first = stream.read(&mut header[..]).await?;
    if first == 0 {
        return Err(WireError::Closed { message: M::NAME });
    }
    stream.read_exact(&mut header[first..]).await?;
    Ok(())
}

/// Length of the payload that the header announces, after every check that needs no payload.
fn payload_length<M: Message>(header: &[u8; HEADER_BYTES]) -> Result<usize, WireError> {
    let [a, b, c, d, codec, schema_high, schema_low] = *header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let schema = u16::from_be_bytes([schema_high, schema_low]);
    if codec != CODEC_BINCODE_2 || schema != SCHEMA {
        return Err(WireError::Unknown { codec, schema });
    }
    let payload = length
        .checked_sub(TAG_BYTES)
        .ok_or(WireError::Malformed { message: M::NAME })?;
    if payload > M::BYTES_MAX {
        return Err(WireError::TooLarge {
            message: M::NAME,
            bytes: payload,
        });
    }
    Ok(payload)
}

fn decode_payload<M: Message>(payload: &[u8]) -> Result<M, WireError> {
    M::decode_payload(payload).map_err(|_| WireError::Malformed { message: M::NAME })
}

/// Reads messages of one type, one after another, and may be cancelled between any two polls.
/// It reads ahead, so it owns its stream to the end.
pub struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(stream: R) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// The next message. Cancel safe.
    pub async fn next<M: Message>(&mut self) -> Result<M, WireError> {
        loop {
            if let Some(message) = self.take_buffered()? {
                return Ok(message);
            }
            let read = self.stream.read_buf(&mut self.buffer).await?;
            if read == 0 {
                return Err(if self.buffer.is_empty() {
                    WireError::Closed { message: M::NAME }
                } else {
                    WireError::Io(io::ErrorKind::UnexpectedEof.into())
                });
            }
        }
    }

    /// Takes a whole frame out of the buffer, or makes room for what is missing of it.
    fn take_buffered<M: Message>(&mut self) -> Result<Option<M>, WireError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            self.buffer.reserve(HEADER_BYTES);
            return Ok(None);
        };
        let whole = HEADER_BYTES + payload_length::<M>(header)?;
        if self.buffer.len() < whole {
            self.buffer.reserve(whole - self.buffer.len());
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(whole);
        frame.advance(HEADER_BYTES);
        decode_payload(&frame).map(Some)
    }
}
