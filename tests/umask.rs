//! What root writes for the daemon, under a umask that lets nobody else read. Alone in its program: the umask is the
//! process's.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pullgate::tool::signature_store as carry;
use rustix::fs::Mode;
use rustix::process::umask;

#[test]
fn the_daemon_can_read_what_root_writes() {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    umask(Mode::from_raw_mode(0o077));
    let folder = tempfile::tempdir().unwrap();
    let above = mode(folder.path());
    let file = folder.path().join("signatures/oracle/sha256/record.json");
    carry::write_file(&file, b"{}").unwrap();
    assert_eq!(mode(&file), 0o644);
    for made in ["signatures/oracle/sha256", "signatures/oracle", "signatures"] {
        assert_eq!(mode(&folder.path().join(made)), 0o755, "{made}");
    }
    // What was there before stays as it is.
    assert_eq!(mode(folder.path()), above);
    std::fs::set_permissions(
        folder.path().join("signatures"),
        std::fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    carry::write_file(&file, b"{ }").unwrap();
    assert_eq!(mode(&folder.path().join("signatures")), 0o700);
}
