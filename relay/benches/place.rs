//! Where a program runs (this host, or a network namespace), and a program that is running: it ends
//! with its handle, and what it and its children cost can be asked.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

/// Clock ticks per second in `/proc`. Source: proc(5); every Linux that we build for has 100.
const TICKS: f64 = 100.0;
/// Whoever owns nothing: PostgreSQL and sshd do not run (or not alike) as root.
pub const NOBODY: u32 = 65534;

/// The network that a program sees.
#[derive(Clone, Debug)]
pub enum Place {
    Here,
    Namespace(String),
}

impl Place {
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        match self {
            Place::Here => Command::new(program.as_ref()),
            Place::Namespace(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(program.as_ref());
                command
            }
        }
    }

    /// The same for programs that refuse to run as root.
    pub fn unprivileged(&self, program: impl AsRef<Path>) -> Command {
        if !is_root() {
            return self.command(program);
        }
        let mut command = self.command("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(program.as_ref());
        command
    }
}

pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// Makes a directory that unprivileged programs may write.
pub fn make_dir(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(())
}

/// Runs to its end; what it printed, or what it complained of.
pub fn output_of(command: &mut Command) -> anyhow::Result<String> {
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {:?}", command.get_program()))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(
        done.status.success(),
        "{:?}: {}",
        command.get_program(),
        said.trim()
    );
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// A program in the background, killed when dropped.
pub struct Running {
    child: Child,
}

impl Running {
    /// Its output goes to a file.
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Running> {
        let log = fs::File::options().create(true).append(true).open(log)?;
        command.stdout(log.try_clone()?).stderr(log);
        Running::start_as_is(command)
    }

    pub fn start_as_is(command: &mut Command) -> anyhow::Result<Running> {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("start {:?}", command.get_program()))?;
        Ok(Running { child })
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// User and system time of the process, of its children, and of those that it has waited for,
    /// seconds to 10 ms.
    pub fn cpu_s(&self) -> f64 {
        tree(self.pid()).into_iter().map(cpu_of).sum()
    }

    /// Resident memory of the process now, bytes.
    pub fn resident_bytes(&self) -> u64 {
        status_kib(self.pid(), "VmRSS:") * 1024
    }

    /// The most since the last [`Running::forget_peak`], bytes.
    pub fn peak_bytes(&self) -> u64 {
        status_kib(self.pid(), "VmHWM:") * 1024
    }

    /// Source: proc(5), `clear_refs`.
    pub fn forget_peak(&self) -> anyhow::Result<()> {
        let file = format!("/proc/{}/clear_refs", self.pid());
        fs::write(&file, "5").with_context(|| format!("write {file}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tree(root: u32) -> Vec<u32> {
    let mut all = vec![root];
    let mut at = 0;
    while let Some(pid) = all.get(at) {
        let file = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(file).unwrap_or_default();
        all.extend(
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
        at += 1;
    }
    all
}

fn cpu_of(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    ticks_of(&stat) as f64 / TICKS
}

/// utime, stime, cutime and cstime, the 14th field and those after it; the second may hold anything.
fn ticks_of(stat: &str) -> u64 {
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let fields = rest.split_whitespace().skip(11).take(4);
    fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

fn status_kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let digits = line.map(|line| line.trim().trim_end_matches(" kB"));
    digits.and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::ticks_of;

    #[test]
    fn a_process_name_with_brackets_hides_no_ticks() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 3 4 20 0 1 0 99";
        assert_eq!(ticks_of(stat), 37);
    }
}
