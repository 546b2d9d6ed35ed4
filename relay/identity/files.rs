//! Secret files: mode 0600 from their first byte, replaced as a whole, durable when written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::{CustodyError, limits};

const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIRECTORY: u32 = 0o700;
/// Any right of group or others.
const FOREIGN_RIGHTS: u32 = 0o077;

pub(super) fn create_directory(path: &Path) -> Result<(), CustodyError> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIRECTORY)
        .create(path)
        .map_err(failed("create", path))
}

/// The whole file, or nothing when there is none. Refuses a file that others may read.
pub(super) fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, CustodyError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path)(error)),
    };
    let mode = file
        .metadata()
        .map_err(failed("look at", path))?
        .permissions()
        .mode()
        & 0o777;
    if mode & FOREIGN_RIGHTS != 0 {
        return Err(CustodyError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(limits::FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(failed("read", path))?;
    Ok(Some(bytes))
}

/// Replaces the file in one step: after a crash there is the old one or the new one.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), CustodyError> {
    let temporary = path.with_extension("new");
    // Left behind by a crash; its mode could be anything.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &temporary)(error));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE_FILE)
        .open(&temporary)
        .map_err(failed("create", &temporary))?;
    file.write_all(bytes).map_err(failed("write", &temporary))?;
    file.sync_all().map_err(failed("sync", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("rename to", path))?;
    if let Some(directory) = path.parent() {
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed("sync", directory))?;
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CustodyError {
    let path = path.to_owned();
    move |source| CustodyError::File {
        action,
        path,
        source,
    }
}
