use proptest::prelude::*;

use super::GrpcMessage;

proptest! {
    /// A message that is framed here reads back as the same bytes.
    #[test]
    fn a_framed_message_reads_back_as_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let message = GrpcMessage::from_bytes(&bytes);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = http_body_util::BodyExt::map_err(
            http_body_util::Full::new(message.framed()),
            |never| match never {},
        );
        let (read, trailers) = runtime.block_on(super::read(body, 200)).unwrap();
        let read = read.unwrap();
        prop_assert_eq!(read.bytes(), &bytes[..]);
        prop_assert!(trailers.is_none());
    }
}
