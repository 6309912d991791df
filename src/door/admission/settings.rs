//! `[daemon] admission`: the door's socket, and how it is read.

use crate::base::strict_toml::table::{Read, Table};
use crate::door::listen::socket_settings::SocketSettings;

/// The daemon's user, root, and the members of the socket's group.
const DEFAULT_MODE: u32 = 0o660;

/// `[daemon] admission`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionDoorSettings {
    /// The socket on which the door listens.
    pub socket: SocketSettings,
}

impl AdmissionDoorSettings {
    /// Reads the setting out of `[daemon]`.
    pub(crate) fn read(daemon: &mut Table<'_>) -> Read<Self> {
        let socket = SocketSettings::read(daemon, "admission", "`admission`", DEFAULT_MODE)?;
        Ok(socket.map(|socket| Self { socket }))
    }
}
