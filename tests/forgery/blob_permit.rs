use pullgate::pull::gate::BlobPermit;
use pullgate::oci::{Digest, Repository};

fn forge(repository: Repository, digest: Digest) -> BlobPermit {
    BlobPermit { repository, digest }
}

fn main() {
    let _forge: fn(Repository, Digest) -> BlobPermit = forge;
}
