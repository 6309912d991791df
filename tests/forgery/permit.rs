use std::sync::Arc;

use pullgate::decide::{Permit, Verdict};
use pullgate::resolve::Subject;

fn forge(subject: Arc<Subject>) -> Verdict {
    Verdict::Allow(Permit { subject, warned: None })
}

fn main() {
    let _forge: fn(Arc<Subject>) -> Verdict = forge;
}
