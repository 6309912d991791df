//! pullgate stands between a node's container runtime and the registries. For each pulled manifest it finds the
//! digest that is meant, finds signatures over that digest, checks them under locally configured keys, and lets
//! the pull through or blocks it.
//!
//! # The way of one pull
//!
//! ```text
//! runtime -> door -> gate -> policy -> resolve -> find -> verify -> decide -> record -> door -> runtime
//! ```
//!
//! [`gate::Gate::admit`] shows that way on one screen: read it first. The modules below stand in the order of that
//! sentence, and **a module uses only modules declared above it** (`tests/layers.rs` checks it).

// What the stages stand on.
pub mod causes;
pub mod limits;
pub mod local;
pub mod oci;
pub mod proto;
pub mod reason;
pub mod trust;
pub mod signature;
mod transport;
pub mod registry;
pub mod oracle;
// The stages, in the order of a pull.
pub mod policy;
pub mod resolve;
pub mod find;
pub mod verify;
pub mod decide;
pub mod record;
// The stages in a row, and the ways in.
pub mod gate;
pub mod door;
// The process.
pub mod config;
pub mod telemetry;
pub mod daemon;
// The operator's tool.
pub mod carry;
pub mod sign;
pub mod demo;
pub mod cli;
// containerd's plug-in.
pub mod verifier;
