//! Programs from PyPI, installed by the script that CI runs as well: without them nothing is skipped,
//! the tests fail.

use std::path::Path;
use std::process::Command;

/// Path of the program; `packaging/<name>.txt` says which versions.
pub fn program(name: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/fetch-python.sh");
    let done = Command::new(script).arg(name).output().unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{name} can't be installed: {errors}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}
