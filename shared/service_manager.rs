//! What systemd wants to hear of a service: that it is ready, that it stops, and that it is alive
//! (sd_notify(3), sd_watchdog_enabled(3)). Without systemd nobody is told anything.
//!
//! Both programs call it where they are wired. That a message could not be sent is logged and stops
//! nothing.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager that started this process, if one did.
#[derive(Clone, Debug, Default)]
pub struct ServiceManager {
    socket: Option<OsString>,
    /// The process is taken for stuck when it was silent this long.
    silence_max: Option<Duration>,
}

impl ServiceManager {
    /// As the environment of this process says.
    pub fn from_env() -> ServiceManager {
        ServiceManager::parse(&|name| std::env::var_os(name), std::process::id())
    }

    fn parse(environment: &dyn Fn(&str) -> Option<OsString>, process: u32) -> ServiceManager {
        let number = |name| environment(name)?.to_str()?.parse::<u64>().ok();
        // Meant for another process when it names one.
        let is_ours = number("WATCHDOG_PID").is_none_or(|named| named == u64::from(process));
        let silence_us = number("WATCHDOG_USEC").filter(|us| is_ours && *us > 0);
        ServiceManager {
            socket: environment("NOTIFY_SOCKET").filter(|path| !path.is_empty()),
            silence_max: silence_us.map(Duration::from_micros),
        }
    }

    /// Everything is bound and open.
    pub fn tell_ready(&self) {
        self.tell("READY=1");
    }

    /// The process drains and will end by itself.
    pub fn tell_stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Says for ever that the process is alive, as often as it is asked to. It belongs beside the
    /// tasks that do the work, so that a runtime in which nothing moves any more falls silent.
    pub async fn tell_alive(&self) {
        let Some(silence_max) = self.silence_max else {
            return std::future::pending().await;
        };
        // Half of it, as sd_watchdog_enabled(3) recommends.
        let mut ticks = tokio::time::interval(silence_max / 2);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, state: &str) {
        if let Err(error) = self.send(state) {
            tracing::warn!(%error, state, "The service manager could not be told.");
        }
    }

    fn send(&self, state: &str) -> io::Result<()> {
        let Some(path) = &self.socket else {
            return Ok(());
        };
        let socket = UnixDatagram::unbound()?;
        match path.as_bytes().strip_prefix(b"@") {
            Some(name) => {
                let address = SocketAddr::from_abstract_name(name)?;
                socket.send_to_addr(state.as_bytes(), &address)?;
            }
            None => {
                socket.send_to(state.as_bytes(), path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(variables: &[(&str, &str)]) -> ServiceManager {
        let environment = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        };
        ServiceManager::parse(&environment, 17)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_watched_service_says_twice_within_the_time_that_it_is_alive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let path = path.to_str().unwrap();
        let manager = told(&[("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "30000000")]);
        manager.tell_ready();
        assert_eq!(heard(&socket), "READY=1");
        let life = manager.tell_alive();
        let watched = tokio::time::timeout(Duration::from_secs(31), life).await;
        assert!(watched.is_err(), "it goes on for ever");
        manager.tell_stopping();
        let said: Vec<String> = (0..4).map(|_| heard(&socket)).collect();
        assert_eq!(
            said,
            ["WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]
        );
    }

    #[test]
    fn an_abstract_socket_is_reached_by_its_name() {
        let name = format!("tidegate-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        told(&[("NOTIFY_SOCKET", &format!("@{name}"))]).tell_ready();
        assert_eq!(heard(&socket), "READY=1");
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_fed() {
        let watch = |pid| told(&[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", pid)]).silence_max;
        assert_eq!(watch("17"), Some(Duration::from_millis(1)));
        assert_eq!(watch("18"), None);
        assert_eq!(told(&[]).silence_max, None);
    }
}
