//! What the strict reader takes, a plain reader reads as the same document, and loses no key of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::base::limits::JSON_DEPTH;
use pullgate::oci::json::{Object, parse};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = parse::<Value>(bytes) else {
        return;
    };
    assert_eq!(
        serde_json::from_slice::<Value>(bytes).ok().as_ref(),
        Some(&document)
    );
    assert!(depth(&document) <= JSON_DEPTH);
    // A plain reader drops all but the last of equal keys.
    assert_eq!(keys(&document), structural_colons(bytes));
    assert_eq!(parse::<Object<Value>>(bytes).is_ok(), document.is_object());
});

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(array) => 1 + array.iter().map(depth).max().unwrap_or_default(),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

fn keys(value: &Value) -> usize {
    match value {
        Value::Array(array) => array.iter().map(keys).sum(),
        Value::Object(object) => object.len() + object.values().map(keys).sum::<usize>(),
        _ => 0,
    }
}

fn structural_colons(bytes: &[u8]) -> usize {
    let (mut in_string, mut escaped, mut colons) = (false, false, 0);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b':' if !in_string => colons += 1,
            _ => {}
        }
    }
    colons
}
