//! How the cloud behaves where the real service is not documented.

/// The behaviour, for as long as the cloud runs.
pub struct Behaviour {
    /// Items on a page if the request has no `limit`.
    pub page: usize,
    pub salt: Salt,
    pub deletion: Deletion,
}

/// The state of a deleted signature. The real service's behaviour is not documented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deletion {
    /// It stays listed, as `DELETING`.
    Deleting,
    /// It stays listed, as `DELETED`.
    Deleted,
    #[default]
    Gone,
}

/// The length of a signature's salt. Oracle does not document that of the real service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Salt {
    /// As long as the hash.
    #[default]
    Digest,
    Exactly(usize),
}
