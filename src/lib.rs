//! pullgate stands between a node's container runtime and the registries. For each pulled manifest it resolves the
//! digest, finds signatures over that digest, verifies them under locally configured keys, and lets the pull through or
//! blocks it.
//!
//! # The path of one pull
//!
//! ```text
//! runtime -> door -> gate
//!                    |  policy        which rule applies; the rules that decide alone
//!                    |  derivations   does an admitted manifest name this one?
//!                    |  resolve       the reference to one digest
//!                    |  find, verify  signatures over that digest (evidence: remembered, or one search)
//!                    |  decide        permit or denial
//!                    |  remember, record
//! runtime <- door <- gate
//! ```
//!
//! [`pull::gate::Gate::admit`] shows that path on one screen: read it first. [`pull`] is the map of its stages.
//!
//! # The layers
//!
//! Each module below is one layer and one folder. **A layer uses only layers declared above it**, and so does each stage
//! inside [`pull`]; `tests/layers.rs` checks both.

pub mod base;
pub mod oci;
pub mod trust;
pub mod signature;
pub mod net;
pub mod pull;
pub mod door;
pub mod process;
pub mod fakes;
pub mod tool;
pub mod plugin;
