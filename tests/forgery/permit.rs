use std::sync::Arc;

use pullgate::pull::decide::Permit;
use pullgate::pull::decide::Verdict;
use pullgate::pull::resolve::Subject;

fn forge(subject: Arc<Subject>) -> Verdict {
    Verdict::Allow(Permit { subject, warned: None })
}

fn main() {
    let _forge: fn(Arc<Subject>) -> Verdict = forge;
}
