//! Records and messages that break the format.

use base64::engine::general_purpose::URL_SAFE;

use super::*;
use crate::base::limits::{MESSAGE_BYTES, RECORD_BYTES};

#[test]
fn a_signed_message_has_exactly_eight_texts() {
    let refused = |message: &str| malformed_text(open(&record(message.as_bytes()), &[release()]));
    for field in message().as_object().unwrap().keys() {
        let mut lacking = message();
        lacking.as_object_mut().unwrap().remove(field);
        assert!(
            refused(&lacking.to_string()).contains(&format!("missing field `{field}`")),
            "{field}"
        );
        for other in [json!(null), json!(1), json!(true), json!([]), json!({})] {
            let text = refused(&with(message(), field, other).to_string());
            assert!(text.contains("expected a string"), "{text}");
        }
        let twice = message()
            .to_string()
            .replacen('{', &format!("{{\"{field}\":\"x\","), 1);
        assert!(refused(&twice).contains("occurs twice"), "{field}");
        let folded =
            message()
                .to_string()
                .replacen('{', &format!("{{\"{}\":\"x\",", field.to_uppercase()), 1);
        assert!(refused(&folded).contains("occurs twice"), "{field}");
    }
    assert!(refused(&with(message(), "tag", "latest").to_string()).contains("unknown field `tag`"));
    let texts: Vec<_> = message().as_object().unwrap().values().cloned().collect();
    for (hostile, expected) in [
        (Value::Array(texts).to_string(), "expected an object"),
        ("nonsense".to_owned(), "expected ident"),
        (String::new(), "EOF"),
        ("null".to_owned(), "expected an object"),
        (format!("{}{}", message(), message()), "trailing characters"),
        (
            format!("{{\"description\":{}", "[".repeat(MESSAGE_BYTES - 100)),
            "nested too deeply",
        ),
        (
            with(message(), "description", "x")
                .to_string()
                .replace("\"x\"", "\"\\ud83d\""),
            "hex escape",
        ),
    ] {
        let text = refused(&hostile);
        assert!(
            text.starts_with("the signed message is not one: ") && text.contains(expected),
            "{text}"
        );
    }
    let invalid = [message().to_string().as_bytes(), &[0xFF]].concat();
    assert!(malformed_text(open(&record(&invalid), &[release()])).contains("utf-8"));
    for digest in [
        "",
        "latest",
        "sha256:00",
        &DIGEST.to_uppercase(),
        &format!("{DIGEST}\n"),
        "../../etc",
    ] {
        let text = refused(&with(message(), "imageDigest", digest).to_string());
        assert!(
            text.starts_with("the signed imageDigest is not a digest: "),
            "{text}"
        );
    }
}

#[test]
fn a_message_that_does_not_verify_is_not_parsed() {
    // The same hostile messages, unsigned: bad signatures, whatever they contain.
    for hostile in [
        &b"nonsense"[..],
        b"",
        b"{}",
        &[0xFF; 100],
        message().to_string().to_uppercase().as_bytes(),
    ] {
        let record = with(good(), "message", STANDARD.encode(hostile));
        assert_eq!(error(&record, &[vault("v1")]), bad("release"));
    }
}

#[test]
fn base64_has_one_spelling() {
    let text = good()["message"].as_str().unwrap().to_owned();
    let signature = good()["signature"].as_str().unwrap().to_owned();
    assert!(text.ends_with('=') && signature.ends_with("=="));
    for field in ["message", "signature"] {
        let good_text = good()[field].as_str().unwrap().to_owned();
        let decoded = STANDARD.decode(&good_text).unwrap();
        // Unused bits at the end: another letter of the same value.
        let trailing = {
            let end = good_text.trim_end_matches('=').len();
            let last = good_text.as_bytes()[end - 1];
            let next = if last == b'9' { '+' } else { char::from(last + 1) };
            format!("{}{next}{}", &good_text[..end - 1], &good_text[end..])
        };
        for hostile in [
            format!("{good_text}\n"),
            format!(" {good_text}"),
            format!("{}\n{}", &good_text[..76], &good_text[76..]),
            good_text.trim_end_matches('=').to_owned(),
            format!("{good_text}="),
            format!("{good_text}{good_text}"),
            trailing,
            URL_SAFE.encode([&[0xFB; 3], decoded.as_slice()].concat()),
            "\u{ff21}".to_owned(),
        ] {
            let outcome = open(&with(good(), field, hostile.clone()), &[release()]);
            let expected = format!("`{field}` is not base64: ");
            assert!(
                malformed_text(outcome).starts_with(&expected),
                "{field}: {hostile}"
            );
        }
    }
}

#[test]
fn records_are_strict_json_objects_of_bounded_size() {
    let refused = |record: &str| malformed_text(open_bytes(record.to_owned(), &[release()]));
    let good = good().to_string();
    for (hostile, expected) in [
        (String::new(), "EOF"),
        ("[]".to_owned(), "expected a map"),
        ("null".to_owned(), "expected a map"),
        (format!("{good}x"), "trailing characters"),
        (format!("{good}{good}"), "trailing characters"),
        (
            good.replacen('{', "{\"message\":\"\",", 1),
            "the key `message` occurs twice",
        ),
        (good.replacen('{', "{\"Message\":\"\",", 1), "occurs twice"),
        (good.replacen('{', "{\"me\\u0073sage\":\"\",", 1), "occurs twice"),
        (
            good.replacen('{', &format!("{{\"a\":{}1{},", "[".repeat(40), "]".repeat(40)), 1),
            "nested too deeply",
        ),
        (
            good.replacen('{', &format!("{{\"a\":{}", "[".repeat(60_000)), 1),
            "nested too deeply",
        ),
    ] {
        let text = refused(&hostile);
        assert!(
            text.starts_with("not a JSON object: ") && text.contains(expected),
            "{text}"
        );
    }
    assert!(malformed_text(open_bytes(vec![0xFF; 10], &[release()])).contains("utf-8"));
    for field in [
        "kmsKeyId",
        "kmsKeyVersionId",
        "signingAlgorithm",
        "message",
        "signature",
    ] {
        let mut lacking: Value = serde_json::from_str(&good).unwrap();
        lacking.as_object_mut().unwrap().remove(field);
        assert_eq!(refused(&lacking.to_string()), format!("`{field}` is missing"));
        lacking[field] = json!(["x"]);
        assert_eq!(refused(&lacking.to_string()), format!("`{field}` is not a text"));
        lacking[field] = Value::Null;
        assert_eq!(refused(&lacking.to_string()), format!("`{field}` is missing"));
    }
    let filled = |bytes: usize| format!("{good}{}", " ".repeat(bytes - good.len()));
    open_bytes(filled(RECORD_BYTES), &[release()]).unwrap();
    assert_eq!(refused(&filled(RECORD_BYTES + 1)), "longer than 65536 bytes");
}

#[test]
fn a_message_is_at_most_as_long_as_the_vault_signs() {
    let padded = |bytes: usize| {
        let text = message().to_string();
        record(format!("{text}{}", " ".repeat(bytes - text.len())).as_bytes())
    };
    open(&padded(MESSAGE_BYTES), &[release()]).unwrap();
    let text = malformed_text(open(&padded(MESSAGE_BYTES + 1), &[release()]));
    assert_eq!(text, "the message is longer than 4096 bytes");
}

#[test]
fn errors_quote_one_short_line_of_a_record() {
    let long = "x\n\u{1b}[31m".repeat(5000);
    for (field, key) in [
        ("kmsKeyId", vault("v1")),
        ("signingAlgorithm", release()),
        ("lifecycleState", release()),
    ] {
        let text = error(&with(good(), field, long.clone()), &[key]).to_string();
        assert!(
            text.len() < 2000 && !text.contains('\n') && !text.contains('\u{1b}'),
            "{text}"
        );
    }
    let text = malformed_text(open(
        &record(with(message(), &long[..1000], "").to_string().as_bytes()),
        &[release()],
    ));
    assert!(
        text.len() < 2000 && !text.contains('\n') && !text.contains('\u{1b}'),
        "{text}"
    );
}
