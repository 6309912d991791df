//! Keys that OpenSSL before 3.0 encrypted: `Proc-Type: 4,ENCRYPTED` and `DEK-Info: <cipher>,<iv>` (RFC 1421, 4.6.1).
//! The cipher's key is derived from the pass phrase by OpenSSL's `EVP_BytesToKey` with MD5 and one round (PEM_read(3)).
//! For years, Oracle's own instructions produced such keys (`openssl genrsa -aes128`).

use aes::{Aes128, Aes192, Aes256};
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use des::TdesEde3;
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use super::RequestKeyError;
use super::pem::Block;
use crate::base::printable::excerpt;
use crate::net::oracle::Secret;

/// Decrypts the content of a block.
pub(super) fn open(
    block: &Block<'_>,
    pass_phrase: Option<&Secret>,
) -> Result<Zeroizing<Vec<u8>>, RequestKeyError> {
    let (cipher, iv) = match block.headers.as_slice() {
        [("Proc-Type", "4,ENCRYPTED"), ("DEK-Info", info)] => {
            info.split_once(',').ok_or(RequestKeyError::EncryptionHeader)?
        }
        _ => return Err(RequestKeyError::EncryptionHeader),
    };
    let decrypt = match cipher {
        "AES-128-CBC" => decrypt::<Decryptor<Aes128>>,
        "AES-192-CBC" => decrypt::<Decryptor<Aes192>>,
        "AES-256-CBC" => decrypt::<Decryptor<Aes256>>,
        "DES-EDE3-CBC" => decrypt::<Decryptor<TdesEde3>>,
        other => return Err(RequestKeyError::Cipher(format!("`{}`", excerpt(other)))),
    };
    let Ok(iv) = hex::decode(iv) else {
        return Err(RequestKeyError::EncryptionHeader);
    };
    let pass_phrase = pass_phrase.ok_or(RequestKeyError::NoPassPhrase)?;
    decrypt(block.decode()?, pass_phrase, &iv)
}

fn decrypt<D: BlockModeDecrypt + KeyIvInit>(
    mut content: Zeroizing<Vec<u8>>,
    pass_phrase: &Secret,
    iv: &[u8],
) -> Result<Zeroizing<Vec<u8>>, RequestKeyError> {
    let salt = iv.get(..8).ok_or(RequestKeyError::EncryptionHeader)?;
    let key = derive(pass_phrase, salt, D::key_size());
    let Ok(decryptor) = D::new_from_slices(&key, iv) else {
        return Err(RequestKeyError::EncryptionHeader);
    };
    let length = match decryptor.decrypt_padded::<Pkcs7>(&mut content) {
        Ok(plain) => plain.len(),
        Err(_padding) => return Err(RequestKeyError::PassPhrase),
    };
    content.truncate(length);
    Ok(content)
}

/// `EVP_BytesToKey`: each block of the key is the MD5 of the previous one, the pass phrase and the salt.
fn derive(pass_phrase: &Secret, salt: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(length + 16));
    let mut block = Zeroizing::new(Vec::new());
    while key.len() < length {
        let mut hash = Md5::new();
        hash.update(block.as_slice());
        hash.update(pass_phrase.expose());
        hash.update(salt);
        *block = hash.finalize().to_vec();
        key.extend_from_slice(&block);
    }
    key.truncate(length);
    key
}
