//! Carries one forwarded session between the API's connection and the agent's stream.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::frame::{self, End, Failed, FrameReader, FrameWriter, Why};
use super::places::Counts;

/// From the end of one direction to the end of the other, and for the last word.
const CLOSE: Duration = Duration::from_secs(15);

/// Carries until one side ends it or `over` says that it must end; then tells the caller why. The
/// agent's stream is dropped by its owner, which resets what did not end cleanly.
pub(super) async fn carry<U, S>(
    upgraded: U,
    session: &mut S,
    counts: &Counts,
    over: impl Future<Output = End>,
) -> End
where
    U: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (reader, writer) = tokio::io::split(upgraded);
    let (mut reader, mut writer) = (FrameReader::new(reader), FrameWriter::new(writer));
    let (mut from_database, mut to_database) = tokio::io::split(session);
    let end = {
        let up = frame::unpack(&mut reader, &mut to_database, |bytes| {
            counts.note_to_database(bytes.len());
        });
        let down = frame::pack(&mut from_database, &mut writer, |bytes| {
            counts.note_from_database(bytes.len());
        });
        tokio::select! {
            end = both(up, down) => end,
            end = over => end,
        }
    };
    // The caller may be gone, or not reading; either way there is nothing more to do.
    let _ = timeout(CLOSE, writer.end(&end)).await;
    end
}

/// The database's end decides. After the caller's it gets a while to come.
async fn both(
    up: impl Future<Output = Result<Option<End>, Failed>>,
    down: impl Future<Output = Result<(), Failed>>,
) -> End {
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    let ended = tokio::select! {
        biased;
        ended = &mut down => ended,
        ended = &mut up => match ended {
            Err(failed) => Err(failed),
            Ok(_) => match timeout(CLOSE, down).await {
                Ok(ended) => ended,
                Err(_) => Err(Failed::Session(std::io::ErrorKind::TimedOut.into())),
            },
        },
    };
    match ended {
        Ok(()) => End::done(),
        Err(Failed::Session(_)) => End::new(
            Why::Cut,
            "the agent or the tunnel to it ended this session: connect again; `agent show` and the \
             agent's log say more",
        ),
        // Nobody is there to read it; the audit log says that it was not a clean end.
        Err(Failed::Frames(_)) => End::new(Why::Cut, "the caller went away"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::frame::Frame;
    use super::*;

    /// Carries between two pipes; what the caller and the database do is `acted`.
    async fn carried(
        over: impl Future<Output = End>,
        acted: impl AsyncFnOnce(tokio::io::DuplexStream, tokio::io::DuplexStream),
    ) -> (End, Counts) {
        let (caller, upgraded) = tokio::io::duplex(7);
        let (database, mut session) = tokio::io::duplex(7);
        let counts = Counts::default();
        let carry = async {
            let end = carry(upgraded, &mut session, &counts, over).await;
            drop(session);
            end
        };
        let (end, ()) = tokio::join!(carry, acted(caller, database));
        (end, counts)
    }

    #[tokio::test]
    async fn bytes_cross_both_ways_are_counted_and_end_cleanly() {
        let (end, counts) = carried(std::future::pending(), async |caller, mut database| {
            let (reader, writer) = tokio::io::split(caller);
            let (mut reader, mut writer) = (FrameReader::new(reader), FrameWriter::new(writer));
            let mut asked = [0; 6];
            let ask = async {
                writer.data(b"select").await.unwrap();
                writer.finished().await.unwrap();
            };
            let (_, read) = tokio::join!(ask, database.read_exact(&mut asked));
            read.unwrap();
            assert_eq!(&asked, b"select");
            assert_eq!(database.read(&mut asked).await.unwrap(), 0);
            let answer = async {
                database.write_all(b"one").await.unwrap();
                database.shutdown().await.unwrap();
            };
            let hear = async {
                let mut heard = Vec::new();
                loop {
                    match reader.next().await.unwrap() {
                        Frame::Data(bytes) => heard.extend_from_slice(bytes),
                        other => {
                            assert_eq!(other, Frame::End(End::done()));
                            return heard;
                        }
                    }
                }
            };
            let ((), heard) = tokio::join!(answer, hear);
            assert_eq!(heard, b"one");
        })
        .await;
        assert_eq!(end, End::done());
        assert_eq!(counts.both(), (6, 3));
    }

    #[tokio::test]
    async fn what_must_end_is_told_why_and_a_caller_who_vanished_is_noticed() {
        let time = End::new(Why::Time, "over");
        let over = std::future::ready(time.clone());
        let (end, _) = carried(over, async |caller, _database| {
            let mut reader = FrameReader::new(caller);
            assert!(matches!(
                reader.next().await.unwrap(),
                Frame::End(End { why: Why::Time, .. })
            ));
        })
        .await;
        assert_eq!(end, time);
        let never = std::future::pending();
        let (end, _) = carried(never, async |caller, database| {
            drop(caller);
            // Kept until the other end noticed.
            let mut database = database;
            assert_eq!(database.read(&mut [0; 8]).await.unwrap(), 0);
        })
        .await;
        assert_eq!(end.why, Why::Cut);
    }
}
