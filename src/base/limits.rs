//! Every bound on what the outside may make us read, hold or wait for, in one place, each with its source.

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

/// Largest body of a token endpoint's answer that is read.
pub const TOKEN_BYTES: usize = 256 * 1024;

/// Largest body of an error answer that is read to quote the registry's own words.
pub const ERROR_BYTES: usize = 16 * 1024;

/// Largest tag list page that is passed on.
pub const TAGS_BYTES: usize = 4 * 1024 * 1024;

/// Signature records that are looked at for one digest. Notation stops at 100 by default (`--max-signatures`).
pub const CANDIDATES: usize = 128;

/// Pages of referrers that are followed for one digest.
pub const REFERRER_PAGES: usize = 16;

/// Redirects that are followed for one request (curl and Go stop at 10; registries use one).
pub const REDIRECTS: usize = 5;

/// Nesting that a JSON document may have: a manifest needs 5.
pub const JSON_DEPTH: usize = 32;

/// Keys that one object of a JSON document may have: a check for duplicates holds them all. The widest objects of real
/// manifests are annotations, with some tens.
pub const JSON_KEYS: usize = 4096;

/// Children (manifests, or config and layers) that one manifest may name.
pub const CHILDREN: usize = 4096;

/// One pull's decision, from the door to the answer, when the configuration names no other.
pub const PULL_DEADLINE: Duration = Duration::from_secs(30);

/// A blob stream on which neither side moved a byte for so long is cut.
pub const BLOB_IDLE: Duration = Duration::from_secs(60);

/// Longest path and query of a request to the registry door. A name has at most 255 characters
/// (`github.com/distribution/reference`, `RepositoryNameTotalLengthMax`), a SHA-512 digest 135; the rest is room for
/// percent-encoding.
pub const REQUEST_TARGET_BYTES: usize = 4096;

/// Largest request head that the registry door reads: a Bearer token of the large clouds has up to 8 KiB.
pub const REQUEST_HEAD_BYTES: usize = 32 * 1024;

/// A client of the registry door has so long to send a request's head, counted from the connection's begin or from
/// the last answer's end. Go's clients, which all runtimes are, open another connection when theirs was closed.
pub const REQUEST_HEAD: Duration = Duration::from_secs(30);

/// A client of the registry door has so long for the TLS handshake.
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(10);

/// Largest PEM file that is read: a chain of certificates and a key have a few KiB.
pub const PEM_BYTES: u64 = 1024 * 1024;

/// Largest file of the configuration that is read. 1 000 rules take about 150 KiB.
pub const CONFIG_BYTES: usize = 1024 * 1024;

/// Files that `include` may name together.
pub const INCLUDED_FILES: usize = 1024;

/// Largest PEM file of certificates, or of the door's own key, that is read. Mozilla's whole list takes 220 KiB.
pub const CERTIFICATE_BYTES: usize = 1024 * 1024;

/// Largest file of registry credentials that is read. Docker's format takes some 200 bytes a registry.
pub const CREDENTIALS_BYTES: usize = 1024 * 1024;

/// Largest OCI configuration file that is read. A profile takes some 500 bytes.
pub const ORACLE_CONFIG_BYTES: usize = 256 * 1024;

/// Longest OCID (Oracle's documentation, "Resource Identifiers": at most 255 characters).
pub const OCID_BYTES: usize = 255;

/// Longest security token that is taken. Those of instance principals have some 2 KiB; it must fit into the head of a
/// request, of which servers commonly read 16 KiB.
pub const SECURITY_TOKEN_BYTES: usize = 12 * 1024;

/// Largest answer of an Oracle service about one thing that is read. An image's answer lists its layers, at some 150
/// bytes each.
pub const ORACLE_ANSWER_BYTES: usize = 1024 * 1024;

/// Largest page of signature records that is read: as many records as are looked at, each of the largest size.
pub const ORACLE_PAGE_BYTES: usize = CANDIDATES * RECORD_BYTES;

/// Pages of signature records that are followed for one question: a service that names a next page each time must not
/// keep a pull busy. A page holds up to 100 records, so [`CANDIDATES`] are on two.
pub const ORACLE_PAGES: usize = 16;

/// Pages of a key's versions that are followed, of up to 100 each.
pub const KEY_VERSION_PAGES: usize = 16;

/// Largest answer of an instance's metadata service that is read: a certificate, a key or a region's name.
pub const METADATA_BYTES: usize = 64 * 1024;

/// Largest head of a gRPC call that is read. The soft limit of gRPC's own core is 8 KiB (`GRPC_ARG_MAX_METADATA_SIZE`).
pub const GRPC_HEAD_BYTES: u32 = 32 * 1024;

/// Largest message that our own gRPC services read. A question with credentials has some 10 KiB.
pub const GRPC_REQUEST_BYTES: usize = 64 * 1024;
