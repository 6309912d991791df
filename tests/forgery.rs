//! The proof types can't be made outside the modules that check: each attempt in `tests/forgery/` must not compile.

#[test]
fn forgeries_do_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/forgery/permit.rs");
    cases.compile_fail("tests/forgery/verified_signature.rs");
    cases.compile_fail("tests/forgery/blob_permit.rs");
    cases.compile_fail("tests/forgery/blob.rs");
    // The same frame without the forgery does compile, so the others fail for the reason that they name.
    cases.pass("tests/forgery/frame.rs");
}
