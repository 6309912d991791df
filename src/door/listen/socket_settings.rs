//! Settings of a listener: a Unix socket (its path, mode and group), or an address with a port.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::base::strict_toml::problem::Reported;
use crate::base::strict_toml::table::{Setting, Table, Text};
use crate::base::strict_toml::value::TextOrTable;

/// Longest path of a socket. The kernel accepts 107 bytes (unix(7), `sun_path`); the temporary name that a socket has
/// while it is created takes four of them.
const PATH_BYTES: usize = 103;

/// The path of a Unix socket, and the permissions of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketSettings {
    /// The path of the socket's file.
    pub path: PathBuf,
    /// The mode of the file. A process may connect if it may write to the file (unix(7)).
    pub mode: u32,
    /// The group of the file, by name or number; `None` keeps the process's own group.
    pub group: Option<String>,
}

impl SocketSettings {
    /// Reads the socket `key` of a table: a text, which is its path, or a table of path, mode and group. `name` is the key
    /// as messages quote it.
    pub(crate) fn read(
        table: &mut Table<'_>,
        key: &'static str,
        name: &'static str,
        default_mode: u32,
    ) -> Setting<Self> {
        match table.text_or_table(key, name)? {
            None => Ok(None),
            Some(TextOrTable::Text(text)) => Ok(Some(Self {
                path: socket_path(table, text)?,
                mode: default_mode,
                group: None,
            })),
            Some(TextOrTable::Table(mut inner)) => {
                let socket = Self::read_keys(&mut inner, "\"/run/pullgate/….sock\"", default_mode);
                inner.finish();
                socket.map(Some)
            }
        }
    }

    /// Reads path, mode and group of a socket, which may stand beside other keys of the table.
    pub(crate) fn read_keys(
        table: &mut Table<'_>,
        example: &'static str,
        default_mode: u32,
    ) -> Result<Self, Reported> {
        let path = table.required_text("listen", example);
        let path = path.and_then(|text| socket_path(table, text));
        let mode = socket_mode(table);
        let group = table.text("group").map(|text| {
            text.map(|Text { text, span }| {
                // A warning only: the file may be checked on another machine than the one that it is for. A lookup that
                // fails says nothing about the group; the daemon reports it when it creates the socket.
                if matches!(group_id(text), Ok(None)) {
                    let hint =
                        format!("the daemon will not start without it: `sudo groupadd --system {text}`");
                    table
                        .report()
                        .warning(span, format!("there is no group `{text}` here"), Some(hint));
                }
                text.to_owned()
            })
        });
        Ok(Self {
            path: path?,
            mode: mode?.unwrap_or(default_mode),
            group: group?,
        })
    }
}

/// Reads an address with its port.
pub(crate) fn address(table: &mut Table<'_>, key: &'static str, example: &str) -> Setting<SocketAddr> {
    let Some(text) = table.text(key)? else {
        return Ok(None);
    };
    match text.text.parse() {
        Ok(address) => Ok(Some(address)),
        // The parser gives no details.
        Err(std::net::AddrParseError { .. }) => {
            let hint = Some(format!("write address and port: `{key} = \"{example}\"`"));
            let message = format!("`{}` is not an address with a port", text.text.escape_debug());
            Err(table.report().problem(text.span, message, hint))
        }
    }
}

/// Looks up the number of a group, given by name or number. `None` if this machine does not know the name.
pub(super) fn group_id(group: &str) -> io::Result<Option<u32>> {
    if let Ok(number) = group.parse() {
        return Ok(Some(number));
    }
    let found = nix::unistd::Group::from_name(group)?;
    Ok(found.map(|found| found.gid.as_raw()))
}

fn socket_path(table: &Table<'_>, text: Text<'_>) -> Result<PathBuf, Reported> {
    let path = table.path(text.text);
    let length = path.as_os_str().len();
    if length <= PATH_BYTES {
        return Ok(path);
    }
    let hint = Some("sockets of services usually stand below /run".to_owned());
    let message = format!(
        "a socket's path has at most {PATH_BYTES} bytes, and `{}` has {length}",
        path.display()
    );
    Err(table.report().problem(text.span, message, hint))
}

/// Reads a mode in octal, as chmod(1) takes it. Write permission is what lets a process connect (unix(7)), so bits other
/// than read and write have no meaning.
fn socket_mode(table: &mut Table<'_>) -> Setting<u32> {
    let Some(text) = table.text("mode")? else {
        return Ok(None);
    };
    match u32::from_str_radix(text.text, 8) {
        Ok(mode) if mode & !0o666 == 0 && mode & 0o200 != 0 => Ok(Some(mode)),
        Ok(_) | Err(_) => {
            let hint = Some("write it in octal, without execute bits: `mode = \"0660\"`".to_owned());
            let message = format!("`{}` is not the mode of a socket", text.text.escape_debug());
            Err(table.report().problem(text.span, message, hint))
        }
    }
}
