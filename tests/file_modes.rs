//! Tests the modes of files that root writes for the daemon under a strict umask. The test is the only one of its program,
//! because the umask belongs to the process.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pullgate::base::files::write;
use rustix::fs::Mode;
use rustix::process::umask;

#[test]
fn the_daemon_can_read_files_that_root_writes() {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    umask(Mode::from_raw_mode(0o077));
    let folder = tempfile::tempdir().unwrap();
    let parent_mode = mode(folder.path());
    let file = folder.path().join("signatures/oracle/sha256/record.json");
    write(&file, b"{}").unwrap();
    assert_eq!(mode(&file), 0o644);
    for created in ["signatures/oracle/sha256", "signatures/oracle", "signatures"] {
        assert_eq!(mode(&folder.path().join(created)), 0o755, "{created}");
    }
    // Folders that existed before keep their modes.
    assert_eq!(mode(folder.path()), parent_mode);
    std::fs::set_permissions(
        folder.path().join("signatures"),
        std::fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    write(&file, b"{ }").unwrap();
    assert_eq!(mode(&folder.path().join("signatures")), 0o700);
}
