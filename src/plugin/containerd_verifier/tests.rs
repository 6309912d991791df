use super::{REASON_BYTES, VerifierAnswer, line, of_verdict};
use crate::base::proto::v1;

fn verdict(outcome: i32, text: &str) -> v1::Verdict {
    v1::Verdict {
        outcome,
        text: text.to_owned(),
        rule: "registry.example/**".to_owned(),
        digest: "sha256:00".to_owned(),
        ..v1::Verdict::default()
    }
}

#[test]
fn only_allow_and_warn_let_a_pull_through() {
    for (outcome, allowed) in [
        (v1::Outcome::Allow.into(), true),
        (v1::Outcome::Warn.into(), true),
        (v1::Outcome::Deny.into(), false),
        (v1::Outcome::Unspecified.into(), false),
        // One that a later daemon may know.
        (4, false),
        (-1, false),
    ] {
        for text in ["", "a reason"] {
            let answer = of_verdict(&verdict(outcome, text));
            assert_eq!(answer.allowed, allowed, "{outcome} {text}");
            assert!(!answer.reason.is_empty());
        }
    }
    let expected = VerifierAnswer {
        allowed: true,
        reason: "pullgate: sha256:00 allowed by rule registry.example/**".to_owned(),
    };
    assert_eq!(of_verdict(&verdict(v1::Outcome::Allow.into(), "")), expected);
}

#[test]
fn a_reason_is_one_short_line() {
    assert_eq!(line("a\nb\u{1b}[2Jc"), r"a\nb\u{1b}[2Jc");
    for filler in ["x", "é", "語", "🦀"] {
        let long = line(&filler.repeat(REASON_BYTES + 1));
        assert!(
            long.len() <= REASON_BYTES && long.ends_with('…'),
            "{filler}: {}",
            long.len()
        );
    }
    let just = "x".repeat(REASON_BYTES);
    assert_eq!(line(&just), just);
}
