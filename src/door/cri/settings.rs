//! `[door.cri]`: its settings, and how they are read.

use std::path::PathBuf;

use crate::base::strict_toml::problem::Reported;
use crate::base::strict_toml::table::Table;
use crate::door::listen::socket_settings::SocketSettings;

/// The daemon's own user, and root: write access to this socket is equivalent to root on the node.
const DEFAULT_MODE: u32 = 0o600;

/// `[door.cri]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CriDoorSettings {
    /// The socket on which the door listens.
    pub socket: SocketSettings,
    /// The path of the runtime's socket.
    pub runtime: PathBuf,
    /// Whether the door reports an image that is on the node but was not admitted as absent.
    pub recheck_present: bool,
}

impl CriDoorSettings {
    /// Reads the table. Every setting is read before the first problem is returned, so that all problems are reported.
    pub(crate) fn read(mut table: Table<'_>) -> Result<Self, Reported> {
        let socket = SocketSettings::read_keys(&mut table, "\"/run/pullgate/cri.sock\"", DEFAULT_MODE);
        let runtime = table.required_text("runtime", "\"/run/containerd/containerd.sock\"");
        let runtime = runtime.map(|text| table.path(text.text));
        let recheck_present = table.boolean("recheck_present");
        // The door would call itself without end.
        if let (Ok(socket), Ok(runtime)) = (&socket, &runtime)
            && socket.path == *runtime
        {
            table.report().problem(
                table.at_key("runtime"),
                "`runtime` is the door's own socket",
                Some("name the socket of the runtime: `/run/containerd/containerd.sock`".to_owned()),
            );
        }
        table.finish();
        Ok(Self {
            socket: socket?,
            runtime: runtime?,
            recheck_present: recheck_present?.unwrap_or(false),
        })
    }
}
