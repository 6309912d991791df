use pullgate::decide::{Permit, Verdict};

fn serve(permit: Permit) -> Verdict {
    Verdict::Allow(permit)
}

fn main() {
    let _serve: fn(Permit) -> Verdict = serve;
}
