//! Where local programs connect: a loopback port, or a socket that only its owner may use.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::api::forward::Duplex;
use crate::cli::CliError;

/// The port in the name of a socket's file; psql takes it unless told otherwise.
const SOCKET_PORT: u16 = 5432;

pub(super) enum Listener {
    Loopback(TcpListener),
    /// The directory, and the file in it, which goes with the listener.
    Socket(UnixListener, PathBuf, PathBuf),
}

impl Listener {
    /// Loopback alone: everybody on another address could come otherwise.
    pub(super) async fn loopback(address: SocketAddr) -> Result<Listener, CliError> {
        if !address.ip().is_loopback() {
            let text = format!(
                "--listen takes an address of this machine's loopback, such as 127.0.0.1:15432, not \
                 {address}: run this where the tool runs"
            );
            return Err(CliError::Usage(text));
        }
        let listener = TcpListener::bind(address).await.map_err(|error| {
            CliError::Failed(format!(
                "listen on {address}: {error}: name another port with --listen"
            ))
        })?;
        Ok(Listener::Loopback(listener))
    }

    /// A socket in a directory that nobody else may enter, so that there is no moment in which
    /// somebody else could connect.
    pub(super) async fn socket(directory: &Path) -> Result<Listener, CliError> {
        let failed = |what: &str, error: io::Error| {
            let place = directory.display();
            CliError::Failed(format!(
                "{what} {place}: {error}: name another one with --socket"
            ))
        };
        if !directory.exists() {
            let made = fs::DirBuilder::new().mode(0o700).create(directory);
            made.map_err(|error| failed("make the directory", error))?;
        }
        let about = fs::metadata(directory).map_err(|error| failed("look at", error))?;
        if !about.is_dir() || about.permissions().mode() & 0o077 != 0 {
            let text = format!(
                "--socket takes a directory that only you may enter: `chmod 700 {}`, or name one \
                 that is not there yet",
                directory.display()
            );
            return Err(CliError::Usage(text));
        }
        let file = directory.join(format!(".s.PGSQL.{SOCKET_PORT}"));
        if UnixStream::connect(&file).await.is_ok() {
            let taken = io::Error::from(io::ErrorKind::AddrInUse);
            return Err(failed("somebody listens in", taken));
        }
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("take the place of what is in", error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&file).map_err(|error| failed("listen in", error))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
            .map_err(|error| failed("protect the socket in", error))?;
        Ok(Listener::Socket(listener, directory.to_owned(), file))
    }

    /// Host and port as libpq names them.
    pub(super) fn place(&self) -> io::Result<(String, u16)> {
        match self {
            Listener::Loopback(listener) => {
                let address = listener.local_addr()?;
                Ok((address.ip().to_string(), address.port()))
            }
            Listener::Socket(_, directory, _) => {
                let directory = directory.canonicalize()?;
                Ok((directory.display().to_string(), SOCKET_PORT))
            }
        }
    }

    /// Cancel safe.
    pub(super) async fn accept(&self) -> io::Result<Box<dyn Duplex>> {
        match self {
            Listener::Loopback(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Listener::Socket(listener, ..) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Socket(_, _, file) = self {
            // A socket without a listener is harmless, and the next run replaces it.
            let _ = fs::remove_file(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_and_private_directories_are_listened_in() {
        for open in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let refused = Listener::loopback(open.parse().unwrap()).await;
            assert!(matches!(refused, Err(CliError::Usage(_))), "{open}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let refused = Listener::socket(dir.path()).await;
        assert!(matches!(refused, Err(CliError::Usage(_))));

        let own = dir.path().join("own");
        let listener = Listener::socket(&own)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let file = own.join(".s.PGSQL.5432");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&own), mode(&file)), (0o700, 0o600));
        assert!(Listener::socket(&own).await.is_err(), "it is taken");
        drop(listener);
        assert!(!file.exists());
    }
}
