use proptest::prelude::*;
use prost::Message as _;

use super::{NotProtobuf, without};
use crate::base::proto::cri;

fn images(ids: &[&str]) -> Vec<u8> {
    ids.iter()
        .flat_map(|id| {
            let image = cri::Image {
                id: (*id).to_owned(),
                ..cri::Image::default()
            };
            let image = image.encode_to_vec();
            [&[0x0a, u8::try_from(image.len()).unwrap()], &image[..]].concat()
        })
        .collect()
}

fn is(id: &'static str) -> impl FnMut(&[u8]) -> bool {
    move |image| cri::Image::decode(image).unwrap().id == id
}

#[test]
fn unwanted_fields_are_left_out_and_other_fields_stay() {
    // Fields that the door does not know, of each wire type, before, between and after.
    let unknown: &[u8] = &[
        0x10, 0xff, 0x01, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x25, 1, 2, 3, 4, 0xba, 0x3e, 2, b'h', b'i',
    ];
    let message = [unknown, &images(&["a", "b"]), unknown, &images(&["a"]), unknown].concat();
    let kept = without(&message, 1, is("a")).unwrap();
    assert_eq!(
        kept,
        [unknown, &images(&["a"]), unknown, &images(&["a"]), unknown].concat()
    );
    assert_eq!(without(&message, 1, |_| true).unwrap(), message);
    // A number must match in all its bits: that of the largest field and 17 end in the bits of 1.
    let largest = [0xfa, 0xff, 0xff, 0xff, 0x0f, 1, b'x'];
    assert_eq!(without(&largest, 1, is("a")).unwrap(), largest);
    let other = [&[0x8a, 0x01, 1, b'x'][..], &images(&["b"])].concat();
    assert_eq!(without(&other, 1, is("a")).unwrap(), &other[..4]);
}

#[test]
fn bytes_that_are_not_protobuf_are_refused() {
    let varints = [
        &[0x08][..],
        &[0x08, 0x80],
        &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
    ];
    let lengths = [&[0x0a][..], &[0x0a, 2, 0], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]];
    let others = [
        &[0x09, 1, 2][..],
        &[0x0d, 1],
        &[0x0b],
        &[0x0c],
        &[0x0e],
        &[0x00, 0],
        &[0x02, 0],
        &[0x80],
        // 2^32 + 1, which has 1 in its low half; 2^29.
        &[0x8a, 0x80, 0x80, 0x80, 0x80, 0x01, 1, b'x'],
        &[0x82, 0x80, 0x80, 0x80, 0x10, 1, b'x'],
    ];
    for broken in varints.iter().chain(&lengths).chain(&others) {
        assert_eq!(without(broken, 1, |_| true), Err(NotProtobuf), "{broken:?}");
    }
}

proptest! {
    /// A message is copied as it came or refused, and no byte beyond its end is read.
    #[test]
    fn any_bytes_stay_as_they_are_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(kept) = without(&bytes, 1, |_| true) {
            prop_assert_eq!(&kept, &bytes);
        }
        // Every message that prost reads is read here too.
        if cri::ImageStatusResponse::decode(&bytes[..]).is_ok() && !has_group(&bytes) {
            prop_assert!(without(&bytes, 1, |_| true).is_ok());
        }
    }
}

/// Groups are not a part of proto3: prost skips them, and runtimes do not send them.
fn has_group(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte & 7, 3 | 4))
}
