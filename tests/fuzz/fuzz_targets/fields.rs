//! Fields are left out of a message whole, and all others stay as they came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::door::cri::fields::without;

fuzz_target!(|input: (u8, &[u8])| {
    let (number, message) = (u64::from(input.0), input.1);
    let mut taken = Vec::new();
    let Ok(all) = without(message, number, |content| {
        taken.push(content.to_vec());
        true
    }) else {
        return;
    };
    assert_eq!(all, message);
    let none = without(message, number, |_| false).expect("it was read before");
    assert!(none.len() + taken.iter().map(Vec::len).sum::<usize>() <= message.len());
    // Nothing of them is left, and nothing else has gone.
    assert_eq!(
        without(&none, number, |content| panic!("{content:?} is left")).as_ref(),
        Ok(&none)
    );
    let mut wanted = taken.iter();
    let again = without(message, number, |content| wanted.next().is_some_and(|one| one == content));
    assert_eq!(again.as_deref(), Ok(message));
});
