use pullgate::pull::decide::Permit;
use pullgate::pull::decide::Verdict;

fn serve(permit: Permit) -> Verdict {
    Verdict::Allow(permit)
}

fn main() {
    let _serve: fn(Permit) -> Verdict = serve;
}
