use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::{JsonError, Object, Strict, parse};
use crate::base::limits::JSON_DEPTH;
use crate::oci::json::JSON_KEYS;

fn read(text: &str) -> Result<Value, JsonError> {
    parse(text.as_bytes())
}

fn duplicate(key: &str) -> Result<Value, JsonError> {
    Err(JsonError::DuplicateKey(key.to_owned()))
}

#[test]
fn a_document_is_read_as_it_is() {
    let text = r#" {"a":[1,-1,1.5,true,null,"\u00e9"],"b":{"c":{}},"A b":""} "#;
    assert_eq!(read(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
}

#[test]
fn what_is_not_one_json_document_is_refused() {
    for hostile in [
        "",
        " ",
        "{",
        "{}{}",
        "{} x",
        "{}\0",
        "[1,]",
        "{\"a\":1,}",
        "{'a':1}",
        "{a:1}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":NaN}",
        "{\"a\":1e999}",
        "// c\n{}",
        "\u{feff}{}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\0\"}",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\x41\"",
        "{\"\\ud800\":1}",
    ] {
        assert!(matches!(read(hostile), Err(JsonError::Syntax(_))), "{hostile:?}");
    }
}

#[test]
fn what_follows_a_document_is_seen_before_it_is_read() {
    assert!(Strict::check(b"{} ", &[]).is_ok());
    for hostile in [&b"{}{}"[..], b"{} x", b"{}\0", b"1 2"] {
        assert!(
            matches!(Strict::check(hostile, &[]), Err(JsonError::Syntax(_))),
            "{hostile:?}"
        );
    }
}

#[test]
fn what_is_not_utf_8_is_refused_wherever_it_stands() {
    for hostile in [
        &b"{\"a\":\"\xff\"}"[..],
        b"{\"\xc3\":1}",
        b"{}\xff",
        b"\xff\xfe{\0}\0",
        b"{\"a\":\"\xed\xa0\x80\"}",
        b"{\"a\":\"\xc0\xaf\"}",
    ] {
        assert!(
            matches!(parse::<Value>(hostile), Err(JsonError::Syntax(_))),
            "{hostile:?}"
        );
        assert!(
            matches!(parse::<serde::de::IgnoredAny>(hostile), Err(JsonError::Syntax(_))),
            "{hostile:?}"
        );
    }
}

#[test]
fn the_same_key_twice_is_refused_however_many_there_are() {
    let keys: Vec<_> = (0..100).map(|number| format!("\"k{number}\":1")).collect();
    let object = |more: &str| format!("{{{},\"{more}\":1}}", keys.join(","));
    assert!(read(&object("k100")).is_ok());
    for twice in ["k0", "K15", "k16", "K17", "k99", r"k\u0039\u0039"] {
        let refused = read(&object(twice));
        assert!(
            matches!(refused, Err(JsonError::DuplicateKey(_))),
            "{twice}: {refused:?}"
        );
    }
}

#[test]
fn the_same_key_twice_is_refused_at_any_depth() {
    assert_eq!(read(r#"{"a":1,"b":2,"a":1}"#), duplicate("a"));
    assert_eq!(read(r#"{"x":[{"y":{"a":1,"\u0061":2}}]}"#), duplicate("a"));
    assert_eq!(read(r#"{"":1,"":1}"#), duplicate(""));
    assert_eq!(read(r#"{"x":{"a":1},"y":{"a":1}}"#).unwrap()["y"]["a"], 1);
    // Values that a type skips are checked as well.
    assert_eq!(
        parse::<BTreeMap<String, serde::de::IgnoredAny>>(br#"{"x":{"a":1,"a":2}}"#).map(|_| ()),
        Err(JsonError::DuplicateKey("a".to_owned()))
    );
}

#[test]
fn a_key_in_another_case_is_the_same_key() {
    assert_eq!(read(r#"{"layers":1,"Layers":2}"#), duplicate("Layers"));
    assert_eq!(read(r#"{"x":[{"é":1,"É":2}]}"#), duplicate("É"));
    // Go folds these two into ASCII letters.
    assert_eq!(read(r#"{"layers":1,"layerſ":2}"#), duplicate("layerſ"));
    assert_eq!(read("{\"key\":1,\"\u{212a}ey\":2}"), duplicate("\u{212a}ey"));
}

#[test]
fn people_s_own_keys_may_differ_in_case() {
    for map in ["annotations", "freeform-tags", "freeformTags", "Labels"] {
        assert!(read(&format!(r#"{{"{map}":{{"a":"","A":""}}}}"#)).is_ok());
        assert_eq!(read(&format!(r#"{{"{map}":{{"a":"","a":""}}}}"#)), duplicate("a"));
        // One object deep, and under no other key.
        assert_eq!(
            read(&format!(r#"{{"{map}":{{"x":{{"a":"","A":""}}}}}}"#)),
            duplicate("A")
        );
        assert_eq!(
            read(&format!(r#"{{"{map}":[{{"a":"","A":""}}]}}"#)),
            duplicate("A")
        );
    }
    assert_eq!(read(r#"{"Annotations":{"a":"","A":""}}"#), duplicate("A"));
}

#[test]
fn depth_is_bounded() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(&nested(JSON_DEPTH)).is_ok());
    assert_eq!(read(&nested(JSON_DEPTH + 1)), Err(JsonError::TooDeep));
    let objects = |depth| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    assert!(read(&objects(JSON_DEPTH)).is_ok());
    assert_eq!(read(&objects(JSON_DEPTH + 1)), Err(JsonError::TooDeep));
    assert_eq!(read(&"[".repeat(4 << 20)), Err(JsonError::TooDeep));
    assert_eq!(read(&"{\"a\":".repeat(1 << 20)), Err(JsonError::TooDeep));
}

#[test]
fn keys_are_counted() {
    let wide = |keys| {
        let pairs: Vec<_> = (0..keys).map(|key| format!("\"{key}\":0")).collect();
        format!("{{\"annotations\":{{{}}}}}", pairs.join(","))
    };
    assert!(read(&wide(JSON_KEYS)).is_ok());
    assert_eq!(
        read(&wide(JSON_KEYS + 1)),
        Err(JsonError::TooManyKeys { limit: JSON_KEYS })
    );
}

#[test]
fn a_known_key_has_one_spelling() {
    let known = ["layers", "mediaType"];
    let check = |text: &'static str| Strict::check(text.as_bytes(), &known).unwrap();
    let other = |found: &str, known| {
        Err(JsonError::OtherSpelling {
            found: found.to_owned(),
            known,
        })
    };
    assert!(
        check(r#"{"layers":1,"x":{"mediaType":1},"LayersOf":1}"#)
            .read::<Value>()
            .is_ok()
    );
    assert_eq!(
        check(r#"{"Layers":1}"#).read::<Value>(),
        other("Layers", "layers")
    );
    assert_eq!(
        check(r#"{"layerſ":1}"#).read::<Value>(),
        other("layerſ", "layers")
    );
    assert_eq!(
        check(r#"{"x":[{"mediatype":1}]}"#).read::<Value>(),
        other("mediatype", "mediaType")
    );
    assert!(
        check(r#"{"annotations":{"Layers":"","layers":""}}"#)
            .read::<Value>()
            .is_ok()
    );
    assert!(check(r#"{"LAYERS":1}"#).has_in_any_case("layers"));
    assert!(!check(r#"{"x":{"layers":1}}"#).has_in_any_case("layers"));
    assert!(!check(r#"[{"layers":1}]"#).has_in_any_case("layers"));
}

#[derive(Debug, Deserialize, PartialEq)]
struct Pair {
    first: u8,
    second: Option<u8>,
}

#[test]
fn an_object_is_no_array() {
    let pair = Pair {
        first: 1,
        second: None,
    };
    assert_eq!(parse::<Object<Pair>>(br#"{"first":1}"#), Ok(Object(pair)));
    // A derived reader does this by itself.
    assert!(parse::<Pair>(b"[1,2]").is_ok());
    for hostile in [
        "[1,2]",
        "1",
        "null",
        "\"x\"",
        "{}",
        r#"{"first":256}"#,
        r#"{"first":-1}"#,
        r#"{"first":1.0}"#,
    ] {
        assert!(
            matches!(
                parse::<Object<Pair>>(hostile.as_bytes()),
                Err(JsonError::Syntax(_))
            ),
            "{hostile}"
        );
    }
}

#[test]
fn an_error_quotes_little() {
    let long = format!("{{\"first\":\"{}\\n\"}}", "x".repeat(1 << 20));
    let error = parse::<Pair>(long.as_bytes()).unwrap_err().to_string();
    assert!(error.len() < 1024 && !error.contains('\n'), "{error}");
    let long = format!("{{\"{0}\":1,\"{0}\":1}}", "x\\n".repeat(1 << 16));
    let error = parse::<Value>(long.as_bytes()).unwrap_err().to_string();
    assert!(error.len() < 1024 && !error.contains('\n'), "{error}");
}

/// Documents whose keys fold to one spelling each, so that they can be read in one way alone.
fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{0,3}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_clear_is_read_as_others_read_it(document in documents()) {
        prop_assert_eq!(read(&document.to_string()), Ok(document));
    }

    #[test]
    fn what_is_read_others_read_the_same(bytes in prop::collection::vec(prop::sample::select(b"{}[]\":,01-.eaA\\\xff ".to_vec()), 0..24)) {
        if let Ok(document) = parse::<Value>(&bytes) {
            prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), document);
        }
    }

    #[test]
    fn a_repeated_key_is_found_wherever_it_stands(document in documents(), upper: bool) {
        let text = document.to_string();
        let copy = if upper { "\"DUPLICATE\":0" } else { "\"duplicate\":0" };
        for (at, _) in text.match_indices('{') {
            let (before, after) = text.split_at(at + 1);
            let comma = if after.starts_with('}') { "" } else { "," };
            let twice = format!("{before}\"duplicate\":0,{copy}{comma}{after}");
            if serde_json::from_str::<Value>(&twice).is_ok_and(|read| read.to_string().contains("uplicate\":0")) {
                let refused = matches!(read(&twice), Err(JsonError::DuplicateKey(_)));
                prop_assert!(refused || !is_structure(&text, at), "{}", twice);
            }
        }
    }
}

/// Whether the brace at this place opens an object, and is not a character of a string.
fn is_structure(text: &str, at: usize) -> bool {
    let (mut in_string, mut escaped) = (false, false);
    for character in text[..at].chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
    }
    !in_string
}
