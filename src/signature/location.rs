//! Where signature records are kept: the kinds of places, and the exact place of one record.

use std::fmt;
use std::path::PathBuf;

use crate::oci::Digest;

/// The word by which `[[registry]] signatures` and `--json` name a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(pub &'static str);

impl SourceName {
    /// The sources of a registry whose configuration names none: those that need no other setting.
    pub const DEFAULT: [Self; 2] = [Self("referrers"), Self("directory")];

    /// The word as the configuration and `--json` spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A kind of place where a format keeps its records. A source says which kinds it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// A manifest of this artifact type whose `subject` is the image.
    Artifact {
        /// The manifest's artifact type.
        artifact_type: &'static str,
        /// The layers of the manifest that are records.
        layers: Layers,
    },
    /// A file with this end of its name, in the image's folder.
    File {
        /// The end of the file's name: `.json`.
        suffix: &'static str,
    },
    /// A service that lists records of an image.
    Service {
        /// The service's name, which is the name of the source that asks it.
        name: &'static str,
    },
}

/// The layers of a signature manifest that are records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// Every layer of one of these media types is a record of its own; other layers are ignored.
    Each(&'static [&'static str]),
    /// The manifest has exactly one layer, and that layer has one of these media types.
    One(&'static [&'static str]),
}

/// The exact place of one record. Two records never have the same locator, and one record that a source lists twice has
/// the same locator both times.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Locator {
    /// A file on this host.
    File(PathBuf),
    /// A layer of a signature manifest.
    Layer {
        /// The digest of the manifest.
        manifest: Digest,
        /// The index of the layer in the manifest's `layers`.
        index: usize,
    },
    /// The identifier that a service gave the record.
    Service(String),
}

impl fmt::Display for Locator {
    /// The name by which people find the record again: a path, a service's identifier, or a manifest's digest. Layers
    /// after the first one are told apart by their index.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(formatter),
            Self::Layer { manifest, index: 0 } => manifest.fmt(formatter),
            Self::Layer { manifest, index } => write!(formatter, "{manifest}[{index}]"),
            Self::Service(id) => formatter.write_str(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Locator;

    #[test]
    fn layers_of_one_manifest_have_names_of_their_own() {
        let manifest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        let names: BTreeSet<_> = (0..3)
            .map(|index| Locator::Layer { manifest, index }.to_string())
            .collect();
        assert_eq!(names.len(), 3);
        assert!(names.contains(&manifest.to_string()), "{names:?}");
    }
}
