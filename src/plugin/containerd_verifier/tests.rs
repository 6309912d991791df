use super::{REASON_BYTES, VerifierAnswer, answer_for, line};
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
        // A value that a later daemon may send.
        (4, false),
        (-1, false),
    ] {
        for text in ["", "a reason"] {
            let answer = answer_for(&verdict(outcome, text));
            assert_eq!(answer.allowed, allowed, "{outcome} {text}");
            assert!(!answer.reason.is_empty());
        }
    }
    let expected = VerifierAnswer {
        allowed: true,
        reason: "pullgate: sha256:00 allowed by rule registry.example/**".to_owned(),
    };
    assert_eq!(answer_for(&verdict(v1::Outcome::Allow.into(), "")), expected);
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
