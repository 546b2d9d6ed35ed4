//! What the relay, or who poses as one, sends first on a stream. Called by the fuzz target and by
//! the agent's integration tests.

use tidegate_agent::origin::gate::Purpose;
use tidegate_agent::origin::startup::{Opening, read_opening};
use tokio::runtime::{Builder, Runtime};

thread_local! {
    /// The reading has a bound in time.
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O needs nothing of the system");
}

pub fn run(bytes: &[u8]) {
    for purpose in [
        Purpose::Session,
        Purpose::Replication,
        Purpose::Cancel,
        Purpose::Forward,
    ] {
        let mut stream = tokio::io::join(bytes, tokio::io::sink());
        let opening = RUNTIME.with(|runtime| runtime.block_on(read_opening(&mut stream, purpose)));
        match opening {
            Ok(Opening::Startup(parameters)) => {
                assert_ne!(purpose, Purpose::Cancel, "a session where none was asked");
                for (name, value) in &parameters {
                    assert_ne!(name, "options", "it sets anything");
                    assert_eq!(
                        name == "user",
                        name == "user" && purpose == Purpose::Forward
                    );
                    assert!(!value.contains(char::is_control), "{name} of {value:?}");
                }
            }
            Ok(Opening::Cancel { .. }) => assert_eq!(purpose, Purpose::Cancel),
            Err(_) => {}
        }
    }
}
