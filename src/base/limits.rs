//! Bounds that more than one module shares, on what the outside may make pullgate read, hold or wait for, each with its
//! source. A bound of one module stands in that module.

use std::time::Duration;

/// Largest manifest or index that is read. Distribution-spec 1.1 asks registries to accept at least 4 MiB; readers
/// (containers/image, notation) stop at the same figure.
pub const MANIFEST_BYTES: usize = 4 * 1024 * 1024;

/// Largest signature record that is read. Oracle's API caps a KMS message at 4096 bytes (SDK `SignDataDetails`); a
/// record with its tags stays far below this.
pub const RECORD_BYTES: usize = 64 * 1024;

/// Largest message that a signature record may sign: what OCI Vault signs at most (SDK `SignDataDetails.message`).
pub const MESSAGE_BYTES: usize = 4096;

/// Largest key file that is read. An RSA key of 8192 bits takes 1.5 KiB as PEM, a certificate with a page of text
/// before it some 10.
pub const KEY_BYTES: usize = 64 * 1024;

/// Largest body of an error answer that is read to quote the registry's own words.
pub const ERROR_BYTES: usize = 16 * 1024;

/// Largest tag list page that is passed on.
pub const TAGS_BYTES: usize = 4 * 1024 * 1024;

/// Signature records that are looked at for one digest. Notation stops at 100 by default (`--max-signatures`).
pub const CANDIDATES: usize = 128;

/// Pages of referrers that are followed for one digest.
pub const REFERRER_PAGES: usize = 16;

/// Nesting that a JSON document may have: a manifest needs 5.
pub const JSON_DEPTH: usize = 32;

/// Children (manifests, or config and layers) that one manifest may name.
pub const CHILDREN: usize = 4096;

/// A blob stream on which neither side moved a byte for so long is cut.
pub const BLOB_IDLE: Duration = Duration::from_secs(60);

/// A client of the registry door has so long to send a request's head, counted from the connection's begin or from
/// the last answer's end. Go's clients, which all runtimes are, open another connection when theirs was closed.
pub const REQUEST_HEAD: Duration = Duration::from_secs(30);

/// Largest file of the configuration that is read. 1 000 rules take about 150 KiB.
pub const CONFIG_BYTES: usize = 1024 * 1024;

/// Largest PEM file of certificates, or of the door's own key, that is read. Mozilla's whole list takes 220 KiB.
pub const CERTIFICATE_BYTES: usize = 1024 * 1024;

/// Largest file of registry credentials that is read. Docker's format takes some 200 bytes a registry.
pub const CREDENTIALS_BYTES: usize = 1024 * 1024;

/// Longest security token that is taken. Those of instance principals have some 2 KiB; it must fit into the head of a
/// request, of which servers commonly read 16 KiB.
pub const SECURITY_TOKEN_BYTES: usize = 12 * 1024;

/// Largest answer of an Oracle service about one thing that is read. An image's answer lists its layers, at some 150
/// bytes each.
pub const ORACLE_ANSWER_BYTES: usize = 1024 * 1024;

/// Largest page of signature records that is read: as many records as are looked at, each of the largest size.
pub const ORACLE_PAGE_BYTES: usize = CANDIDATES * RECORD_BYTES;

/// Largest head of a gRPC call that is read. The soft limit of gRPC's own core is 8 KiB (`GRPC_ARG_MAX_METADATA_SIZE`).
pub const GRPC_HEAD_BYTES: u32 = 32 * 1024;

/// Largest message that our own gRPC services read. A question with credentials has some 10 KiB.
pub const GRPC_REQUEST_BYTES: usize = 64 * 1024;
