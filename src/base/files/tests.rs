use std::io::Write as _;
use std::os::unix::net::UnixListener;

use super::*;

type ReadFile = fn(&Path, usize) -> Result<Zeroizing<Vec<u8>>, FileError>;

const READS: [ReadFile; 2] = [read, read_argument];

#[test]
fn a_file_is_read_up_to_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    for content in [&b""[..], &[7; 10]] {
        fs::write(&path, content).unwrap();
        for read in READS {
            assert_eq!(read(&path, 10).unwrap().as_slice(), content);
        }
    }
    for read in READS {
        let path = path.clone();
        assert_eq!(read(&path, 9), Err(FileError::TooLarge { path, limit: 9 }));
    }
    let absent = folder.path().join("absent");
    for read in READS {
        let error = read(&absent, 9).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("could not read `{}`: there is no such file", absent.display())
        );
    }
}

/// Earlier readers of secrets reserved the whole bound; others let the buffer grow, which leaves copies.
#[test]
fn a_file_whose_length_is_not_known_is_read_whole() {
    let path = Path::new("/proc/self/status");
    assert_eq!(fs::metadata(path).unwrap().len(), 0);
    let bytes = read(path, 64 * 1024).unwrap();
    assert!(bytes.len() > 100 && bytes.starts_with(b"Name:"));
    assert!(matches!(
        read(path, 10),
        Err(FileError::TooLarge { limit: 10, .. })
    ));
}

/// Four of six earlier readers opened a pipe and waited for its writer.
#[test]
fn what_may_never_end_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let not_a_file = |path: &Path| FileError::NotAFile {
        path: path.to_owned(),
    };
    assert_eq!(read(folder.path(), 9), Err(not_a_file(folder.path())));
    let socket = folder.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert_eq!(read(&socket, 9), Err(not_a_file(&socket)));
    let device = Path::new("/dev/zero");
    assert_eq!(read(device, 9), Err(not_a_file(device)));
}

#[test]
fn an_operator_may_name_a_pipe() {
    let (reader, mut writer) = io::pipe().unwrap();
    writer.write_all(b"from a pipe").unwrap();
    drop(writer);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    assert_eq!(
        read_argument(Path::new(&path), 11).unwrap().as_slice(),
        b"from a pipe"
    );
    let device = Path::new("/dev/zero");
    assert!(matches!(
        read_argument(device, 9),
        Err(FileError::TooLarge { .. })
    ));
}

#[test]
fn text_names_the_line_that_is_not_utf8() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    fs::write(&path, "one\nü\n").unwrap();
    assert_eq!(read_text(&path, 100).unwrap(), "one\nü\n");
    fs::write(&path, b"one\ntwo\n\xff\n").unwrap();
    assert_eq!(
        read_text(&path, 100),
        Err(FileError::NotUtf8 {
            path: path.clone(),
            line: 3
        })
    );
}

#[tokio::test]
async fn a_task_reads_as_a_thread_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record");
    fs::write(&path, "{}").unwrap();
    assert_eq!(read_async(&path, 2).await, read(&path, 2));
    assert_eq!(read_async(&path, 1).await, read(&path, 1));
}

#[test]
fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/record.json");
    for content in ["one", "", "another"] {
        write(&path, content.as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
    // A reader that has it open keeps the old content.
    let mut reader = File::open(&path).unwrap();
    write(&path, b"new").unwrap();
    let mut seen = String::new();
    reader.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "another");
}

#[test]
fn a_write_that_fails_leaves_the_old_file_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    let error = write(&taken, b"x").unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("could not write `{}`: ", taken.display()))
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let below = file.join("record.json");
    assert!(matches!(
        write(&below, b"x"),
        Err(FileError::Io {
            action: FileAction::Write,
            ..
        })
    ));
    let error = delete(&below).unwrap_err();
    assert!(error.to_string().starts_with("could not delete"), "{error}");
}
