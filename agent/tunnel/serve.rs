//! One stream that the relay opened: read the request, ask the gate, answer, hand it to `origin`.
//!
//! Each stream runs in a task of its own that `supervise` owns; whatever fails here drops the
//! stream, which resets it.

use std::sync::Arc;
use std::time::Duration;

use tidegate_shared::Class;
use tidegate_shared::tunnel::TunnelStream;
use tidegate_shared::wire::{self, OpenAnswer, OpenDenial, OpenRequest, WireError};
use tokio::io::AsyncWriteExt;
use tracing::{debug, info, warn};

use crate::origin::error::OriginError;
use crate::origin::gate::{Denial, Purpose, Request};
use crate::origin::{NotAdmitted, Origin, Session, SessionError};

/// A relay that opened a stream sends its request with it.
const REQUEST: Duration = Duration::from_secs(5);

/// Serves one stream to its end and logs how it ended.
pub async fn serve(origin: Arc<Origin>, mut stream: TunnelStream) {
    let request = match read_request(&mut stream).await {
        Ok(request) => request,
        Err(error) => {
            debug!(%error, "stream without a request");
            return;
        }
    };
    let (target, purpose) = (request.target.clone(), request.purpose.as_str());
    let label = format!("{}/{}", request.sync, request.run)
        .escape_debug()
        .to_string();
    match origin.admit(&request) {
        Ok(session) => {
            let ended = serve_session(session, stream).await;
            log_end(&target, &label, purpose, ended);
        }
        Err(refused) => {
            warn!(
                target_name = %target.escape_debug(), label, purpose, reason = %refused,
                "request of the relay denied"
            );
            let _ = answer(&mut stream, denied(&refused)).await;
        }
    }
}

async fn read_request(stream: &mut TunnelStream) -> Result<Request, WireError> {
    let message: OpenRequest = tokio::time::timeout(REQUEST, wire::read_message(stream))
        .await
        .map_err(|_| WireError::Io(std::io::ErrorKind::TimedOut.into()))??;
    Ok(Request {
        target: message.target,
        sync: message.sync,
        run: message.run,
        epoch: message.epoch,
        purpose: match message.purpose {
            wire::Purpose::Session => Purpose::Session,
            wire::Purpose::Replication => Purpose::Replication,
            wire::Purpose::Cancel => Purpose::Cancel,
            wire::Purpose::Probe => Purpose::Probe,
            wire::Purpose::Forward => Purpose::Forward,
        },
    })
}

async fn serve_session(session: Session, mut stream: TunnelStream) -> Result<(), SessionError> {
    if session.purpose() == Purpose::Probe {
        let probed = session.probe().await;
        let told = match &probed {
            Ok(()) => OpenAnswer::Opened,
            Err(error) => OpenAnswer::Denied {
                code: denial_code(error),
                text: error.advice(),
            },
        };
        answer(&mut stream, told).await.map_err(relay_failed)?;
        return Ok(probed?);
    }
    wire::write_message(&mut stream, &OpenAnswer::Opened)
        .await
        .map_err(relay_failed)?;
    stream.flush().await.map_err(SessionError::Relay)?;
    match session.purpose() {
        Purpose::Cancel => session.cancel(stream).await,
        _ => session.serve(stream).await,
    }
}

/// Sends the only answer of a stream and ends it cleanly.
async fn answer(stream: &mut TunnelStream, answer: OpenAnswer) -> Result<(), WireError> {
    wire::write_message(stream, &answer).await?;
    stream.shutdown().await?;
    Ok(())
}

fn relay_failed(error: WireError) -> SessionError {
    SessionError::Relay(std::io::Error::other(error))
}

fn denied(refused: &NotAdmitted) -> OpenAnswer {
    let code = match refused {
        NotAdmitted::Denied(denial) => match denial {
            Denial::UnknownTarget(_) => OpenDenial::UnknownTarget,
            Denial::WrongLabel => OpenDenial::BadRequest,
            Denial::StaleEpoch { .. } => OpenDenial::StaleEpoch,
            Denial::SessionLimit { .. }
            | Denial::SyncLimit
            | Denial::Draining
            | Denial::Rate { .. } => OpenDenial::TooMany,
            Denial::Paused(_) => OpenDenial::Paused,
            Denial::NoForward(_) => OpenDenial::NotAllowed,
        },
        NotAdmitted::Epochs(_) => OpenDenial::NotAllowed,
    };
    OpenAnswer::Denied {
        code,
        text: refused.to_string(),
    }
}

fn denial_code(error: &OriginError) -> OpenDenial {
    match error {
        OriginError::Refused { .. }
        | OriginError::PasswordMissing { .. }
        | OriginError::Password { .. }
        | OriginError::PasswordRefused { .. }
        | OriginError::WeakAuthentication { .. }
        | OriginError::UnknownAuthentication(_)
        | OriginError::Scram(_) => OpenDenial::LoginFailed,
        OriginError::AddressRefused { .. }
        | OriginError::WriteGrant { .. }
        | OriginError::PowerfulRole { .. } => OpenDenial::NotAllowed,
        _ => OpenDenial::Unreachable,
    }
}

/// A failed login needs a person and is a warning; a session that broke is the relay's to retry.
fn log_end(target: &str, label: &str, purpose: &str, ended: Result<(), SessionError>) {
    match ended {
        Ok(()) => info!(
            target_name = target,
            label, purpose, "database session ended"
        ),
        Err(SessionError::Login(error)) if error.class() != Class::Retry => {
            warn!(target_name = target, label, purpose, error = %error.advice(), "login failed");
        }
        Err(error) => {
            info!(target_name = target, label, purpose, %error, "database session broke");
        }
    }
}
