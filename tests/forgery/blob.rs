use pullgate::oci::{Blob, Digest};

fn forge(digest: Digest) -> Blob {
    Blob { digest, bytes: Default::default() }
}

fn main() {
    let _forge: fn(Digest) -> Blob = forge;
}
