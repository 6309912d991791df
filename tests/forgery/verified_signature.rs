use pullgate::signature::Claim;
use pullgate::pull::verify::VerifiedSignature;

fn forge(claim: Claim) -> VerifiedSignature {
    VerifiedSignature { claim }
}

fn main() {
    let _forge: fn(Claim) -> VerifiedSignature = forge;
}
