//! Signed JSON: one canonical form (keys sorted, no white space, as `jq -jcS` prints it), one Ed25519 signature in the member `signature`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The member that holds the signature.
const SIGNATURE: &str = "signature";
/// DER before the 32 bytes of a private key: PKCS#8 with Ed25519's own id. Source: RFC 8410 §7.
const PRIVATE_DER: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// DER before the 32 bytes of a public key. Source: RFC 8410 §4.
const PUBLIC_DER: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// There is no `signature`, or it has another shape.
    #[error("there is no signature")]
    Missing,
    /// It was made with another key.
    #[error("it was signed with another key")]
    OtherKey,
    /// Something was changed after it was signed.
    #[error("the signature does not fit the text: it was changed")]
    Broken,
}

/// The canonical bytes of a value. Shape: members sorted by name at every depth.
#[must_use]
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            out.push(b'{');
            for (i, (name, member)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(&Value::String(name.clone()), out);
                out.push(b':');
                write(member, out);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

/// A value as a JSON object. Errors: `None` for what is none.
#[must_use]
pub fn object(value: &impl Serialize) -> Option<Map<String, Value>> {
    match serde_json::to_value(value).ok()? {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// SHA-256, as lower-case hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Which key, in few characters: the first 16 hex digits of the public key's SHA-256.
#[must_use]
pub fn key_id(key: &VerifyingKey) -> String {
    sha256_hex(key.as_bytes())[..16].to_owned()
}

/// Adds `signature` to an object.
pub fn sign(members: &mut Map<String, Value>, key: &SigningKey) {
    members.remove(SIGNATURE);
    let signature = key.sign(&canonical(&Value::Object(members.clone())));
    let text = STANDARD.encode(signature.to_bytes());
    members.insert(SIGNATURE.into(), serde_json::json!({ "algorithm": "Ed25519", "key": key_id(&key.verifying_key()), "value": text }));
}

/// Checks the `signature` of an object. Errors: see [`SignatureFault`].
pub fn verify(members: &Map<String, Value>, key: &VerifyingKey) -> Result<(), SignatureFault> {
    let mut rest = members.clone();
    let signature = rest.remove(SIGNATURE).ok_or(SignatureFault::Missing)?;
    if signature.get("algorithm").and_then(Value::as_str) != Some("Ed25519") {
        return Err(SignatureFault::Missing);
    }
    let text = signature.get("value").and_then(Value::as_str).ok_or(SignatureFault::Missing)?;
    let bytes = STANDARD.decode(text).map_err(|_| SignatureFault::Missing)?;
    let read = Signature::from_slice(&bytes).map_err(|_| SignatureFault::Missing)?;
    if signature.get("key").and_then(Value::as_str) != Some(&key_id(key)) {
        return Err(SignatureFault::OtherKey);
    }
    key.verify(&canonical(&Value::Object(rest)), &read).map_err(|_| SignatureFault::Broken)
}

/// A private key as PEM, as OpenSSL reads it.
#[must_use]
pub fn private_pem(key: &SigningKey) -> zeroize::Zeroizing<String> {
    zeroize::Zeroizing::new(pem("PRIVATE KEY", &PRIVATE_DER, key.as_bytes()))
}

/// A public key as PEM, as OpenSSL reads it.
#[must_use]
pub fn public_pem(key: &VerifyingKey) -> String {
    pem("PUBLIC KEY", &PUBLIC_DER, key.as_bytes())
}

fn pem(label: &str, prefix: &[u8], key: &[u8; 32]) -> String {
    let mut der = prefix.to_vec();
    der.extend_from_slice(key);
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// Reads a private key. Errors: `None`, and never the text.
#[must_use]
pub fn read_private(text: &str) -> Option<SigningKey> {
    Some(SigningKey::from_bytes(&zeroize::Zeroizing::new(unpem(text, "PRIVATE KEY", &PRIVATE_DER)?)))
}

/// Reads a public key. Errors: `None`.
#[must_use]
pub fn read_public(text: &str) -> Option<VerifyingKey> {
    VerifyingKey::from_bytes(&unpem(text, "PUBLIC KEY", &PUBLIC_DER)?).ok()
}

fn unpem(text: &str, label: &str, prefix: &[u8]) -> Option<[u8; 32]> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).ok()?.strip_prefix(prefix)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    #[test]
    fn keys_survive_as_pem() {
        let (private, public) = (private_pem(&key(7)), public_pem(&key(7).verifying_key()));
        assert_eq!(read_private(&private).unwrap().to_bytes(), [7; 32]);
        assert_eq!(read_public(&public), Some(key(7).verifying_key()));
        assert!(read_public(&private).is_none() && read_private("").is_none() && read_private(&private[..60]).is_none());
    }

    /// RFC 8410 §10.3 has this very private key.
    #[test]
    fn pem_is_what_the_rfc_shows() {
        let rfc =
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let read = read_private(rfc).unwrap();
        assert_eq!(private_pem(&read).as_str(), rfc);
        assert!(public_pem(&read.verifying_key()).contains("MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="));
    }

    #[test]
    fn what_was_changed_or_signed_by_others_does_not_hold() {
        let mut members = object(&serde_json::json!({ "b": [1, {"z": "é", "a": null}], "a": "x" })).unwrap();
        assert_eq!(canonical(&Value::Object(members.clone())), "{\"a\":\"x\",\"b\":[1,{\"a\":null,\"z\":\"é\"}]}".as_bytes());
        assert_eq!(verify(&members, &key(1).verifying_key()), Err(SignatureFault::Missing));
        sign(&mut members, &key(1));
        assert_eq!(verify(&members, &key(1).verifying_key()), Ok(()));
        assert_eq!(verify(&members, &key(2).verifying_key()), Err(SignatureFault::OtherKey));
        members.insert("a".into(), "y".into());
        assert_eq!(verify(&members, &key(1).verifying_key()), Err(SignatureFault::Broken));
        sign(&mut members, &key(2));
        assert_eq!(verify(&members, &key(2).verifying_key()), Ok(()), "signing anew replaces");
    }

    proptest! {
        #[test]
        fn order_of_members_does_not_matter(names in prop::collection::btree_set("[a-z]{1,4}", 1..8), n: i64) {
            let there: Map<String, Value> = names.iter().map(|k| (k.clone(), n.into())).collect();
            let back: Map<String, Value> = names.iter().rev().map(|k| (k.clone(), n.into())).collect();
            prop_assert_eq!(canonical(&Value::Object(there.clone())), canonical(&Value::Object(back)));
            let read: Value = serde_json::from_slice(&canonical(&Value::Object(there.clone()))).unwrap();
            prop_assert_eq!(read, Value::Object(there));
        }
    }
}
