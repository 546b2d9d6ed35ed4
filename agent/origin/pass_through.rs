//! A person's session whose login is passed on: the agent has no part in name and password, and
//! fixes only where the session goes and what it may say first.

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tracing::info;

use super::error::OriginError;
use super::startup::{self, Opening, StartupError};
use super::{Session, SessionError, connect, tell_failure};

impl Session {
    /// Connects and lets the login pass by. PostgreSQL may end the session by itself, as it does
    /// after a wrong password. No cancel key is given out for it.
    pub(super) async fn pass_through<S>(&mut self, stream: &mut S) -> Result<(), SessionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut server = match self.reach(stream).await {
            Ok(server) => server,
            Err(error) => {
                tell_failure(stream, &error)
                    .await
                    .map_err(SessionError::Relay)?;
                return Err(error.into());
            }
        };
        info!(
            target_name = %self.admitted.target.name, run = %self.admitted.run,
            "a person's session opened; its login is passed on"
        );
        self.forward(stream, &mut server, b"", true).await?;
        stream.shutdown().await.map_err(SessionError::Relay)
    }

    async fn reach<S>(&self, stream: &mut S) -> Result<Box<dyn connect::Duplex>, OriginError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let opening = startup::read_opening(stream, self.admitted.purpose).await?;
        let Opening::Startup(parameters) = opening else {
            return Err(StartupError::WrongPurpose.into());
        };
        let target = &self.admitted.target;
        let way = connect::attempts(target).first().copied();
        let mut server = connect::dial(target, way.unwrap_or(connect::Security::Plain))
            .await?
            .stream;
        let name = self.application_name();
        let mut fixed = vec![
            ("database", target.database.as_str()),
            ("application_name", &name),
        ];
        if self.admitted.read_only {
            fixed.push(("default_transaction_read_only", "on"));
        }
        let given = parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let mut packet = BytesMut::new();
        frontend::startup_message(fixed.into_iter().chain(given), &mut packet)?;
        server.write_all(&packet).await?;
        server.flush().await?;
        Ok(server)
    }
}
