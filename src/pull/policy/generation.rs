//! The identity of a loaded policy.

/// SHA-256 over everything that a verdict depends on: rules, keys, deny list, registries. Two loads of the same
/// configuration have the same generation, so admitted images survive a restart; any change makes another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Generation(pub [u8; 32]);

impl std::fmt::Display for Generation {
    /// Writes the first 12 hexadecimal digits: enough to compare by eye.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(hex::encode(self.0).get(..12).unwrap_or_default())
    }
}
