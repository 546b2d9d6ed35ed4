//! Files of the state directory: there whole or not at all, also after a power cut, and the agent's own
//! also where root made them. Called by whoever writes there.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// Replaces a file whole and durably: write beside it, fsync, rename, fsync the directory.
pub(crate) fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // A left-over of a crash may have other modes; `mode` applies to new files only.
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)?;
    give_to_owner(&file, directory)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    sync_directory(directory)
}

/// What root writes (`sudo tidegate-agent pair`) belongs to the directory's owner, as whom the service
/// runs: else it could not read its own key.
pub(crate) fn give_to_owner(file: &File, directory: &Path) -> io::Result<()> {
    let (file_is, owner) = (file.metadata()?, std::fs::metadata(directory)?);
    if file_is.uid() == 0 && owner.uid() != 0 {
        fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// Makes renames and removals in a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_root_writes_belongs_to_the_directorys_owner() {
        let directory = tempfile::tempdir().unwrap();
        let owner = match std::fs::metadata(directory.path()).unwrap().uid() {
            0 => {
                std::os::unix::fs::chown(directory.path(), Some(65_532), Some(65_532)).unwrap();
                65_532
            }
            // Not root: all that can be seen is that nothing changes hands.
            own => own,
        };
        let path = directory.path().join("current.json");
        replace_file(&path, b"{}", 0o600).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().uid(), owner);
    }
}
