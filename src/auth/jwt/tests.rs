//! Tokens of every kind, by keys of every kind, and every way in that must be closed.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::auth::testing::{Issuer, SECRET, key_set, part};
use crate::auth::{JwksError, KEYS_MAX, KeyError};

const ALL: [Algorithm; 5] = [Algorithm::HS256, Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];
const NOW: u64 = 1_800_000_000;

fn at(seconds: u64) -> WallTime {
    WallTime::since_1970(Duration::from_secs(seconds))
}

fn rules() -> Rules {
    Rules { leeway: Duration::from_secs(60), grace: Duration::from_secs(5), ..Rules::default() }
}

fn keys_of(issuer: &Issuer) -> KeySet {
    match issuer.algorithm {
        Algorithm::HS256 => KeySet::of_secret(SECRET),
        _ => KeySet::of_pem(issuer.public_pem().as_bytes()).unwrap(),
    }
}

fn judge(token: &str, keys: &KeySet) -> Result<Identity, TokenError> {
    verify(token, keys, &rules(), at(NOW))
}

/// By the rules, with the claims of the one token.
fn judge_claims(claims: &Value, rules: &Rules) -> Result<Identity, TokenError> {
    verify(&Issuer::new(Algorithm::HS256).sign(claims), &KeySet::of_secret(SECRET), rules, at(NOW))
}

#[test]
fn every_algorithm_is_verified_by_its_key_and_no_other() {
    let issuers = ALL.map(Issuer::new);
    for (signer, issuer) in issuers.iter().enumerate() {
        let token = issuer.sign(&json!({"sub": "u1", "exp": NOW + 1}));
        for (owner, other) in issuers.iter().enumerate() {
            let result = judge(&token, &keys_of(other));
            match result {
                Ok(identity) if owner == signer => assert_eq!(identity.claims.get(["sub"]), Some(&json!("u1"))),
                Err(TokenError::UnknownKey) if owner != signer => {}
                other => panic!("{:?} by the key of {owner}: {other:?}", issuer.algorithm),
            }
        }
    }
}

#[test]
fn a_public_key_is_never_a_secret() {
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let issuer = Issuer::new(algorithm);
        let (pem, keys) = (issuer.public_pem(), keys_of(&issuer));
        let claims = json!({"sub": "admin", "exp": NOW + 1});
        let forms = [pem.as_bytes().to_vec(), pem.trim().as_bytes().to_vec(), pem.replace('\n', "").into_bytes()];
        for secret in forms {
            let key = jsonwebtoken::EncodingKey::from_secret(&secret);
            let forged = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
            assert_eq!(judge(&forged, &keys), Err(TokenError::UnknownKey), "{algorithm:?}");
        }
    }
}

#[test]
fn a_token_without_a_signature_is_none() {
    let claims = json!({"sub": "admin"});
    let issuer = Issuer::new(Algorithm::HS256);
    let keys = keys_of(&issuer);
    let real = issuer.sign(&claims);
    let signature = real.rsplit('.').next().unwrap();
    for name in ["none", "None", "NONE", "nOnE", "", "HS512", "HS256 "] {
        for signature in ["", signature] {
            let token = format!("{}.{}.{signature}", part(&json!({ "alg": name })), part(&claims));
            assert_eq!(judge(&token, &keys), Err(TokenError::Algorithm), "{name:?}");
        }
    }
    // A good header, and no signature or half of one.
    for signature in ["", "AA", &signature[1..]] {
        let token = format!("{}.{}.{signature}", part(&json!({"alg": "HS256"})), part(&claims));
        assert_eq!(judge(&token, &keys), Err(TokenError::UnknownKey), "{signature:?}");
    }
}

#[test]
fn a_header_can_not_bring_its_own_key_or_rules() {
    let (ours, theirs) = (Issuer::new(Algorithm::ES256), Issuer::new(Algorithm::ES256));
    let header = json!({"alg": "ES256", "jwk": theirs.jwk("k"), "jku": "https://evil.example/k", "x5c": ["AA"]});
    assert_eq!(judge(&theirs.sign_with(&header, &json!({})), &keys_of(&ours)), Err(TokenError::UnknownKey));
    let critical = json!({"alg": "ES256", "crit": ["b64"], "b64": true});
    assert_eq!(judge(&ours.sign_with(&critical, &json!({})), &keys_of(&ours)), Err(TokenError::Algorithm));
}

#[test]
fn what_is_no_token_is_said_to_be_none() {
    let keys = KeySet::of_secret(SECRET);
    let header = part(&json!({"alg": "HS256"}));
    let real = Issuer::new(Algorithm::HS256).sign(&json!({}));
    let more = format!("{real}.AA");
    let padded = format!("{header}=.{}.AA", part(&json!({})));
    for token in ["", ".", "..", "a.b", "a.b.c", "é.é.é", &*header, &format!("{header}.e30"), &more, &padded] {
        assert_eq!(judge(token, &keys), Err(TokenError::Malformed), "{token:?}");
    }
    for bad in [json!({}), json!({"alg": 7}), json!("HS256"), json!(null), json!({"alg": "HS256", "kid": 7})] {
        assert_eq!(judge(&format!("{}.e30.AA", part(&bad)), &keys), Err(TokenError::Malformed), "{bad}");
    }
    let list = Issuer::new(Algorithm::HS256).sign(&json!([1]));
    assert_eq!(judge(&list, &keys), Err(TokenError::Malformed));
    let long = Issuer::new(Algorithm::HS256).sign(&json!({"sub": "x".repeat(TOKEN_BYTES_MAX)}));
    assert_eq!(judge(&long, &keys), Err(TokenError::TooLong));
}

#[test]
fn a_changed_token_is_refused() {
    for algorithm in ALL {
        let issuer = Issuer::new(algorithm);
        let keys = keys_of(&issuer);
        let token = issuer.sign(&json!({"sub": "u1"}));
        let [header, _, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
        let changed = format!("{header}.{}.{signature}", part(&json!({"sub": "u2"})));
        assert_eq!(judge(&changed, &keys), Err(TokenError::UnknownKey), "{algorithm:?}");
        assert!(judge(&token, &keys).is_ok(), "{algorithm:?}");
    }
}

#[test]
fn times_are_held_to_with_leeway() {
    for (claims, expected) in [
        (json!({}), Ok(None)),
        (json!({"exp": NOW + 10}), Ok(Some(NOW + 75))),
        (json!({"exp": NOW - 59}), Ok(Some(NOW + 6))),
        (json!({"exp": NOW - 60}), Err(TokenError::Expired)),
        (json!({"exp": 0}), Err(TokenError::Expired)),
        (json!({"exp": -5}), Err(TokenError::Expired)),
        (json!({"exp": -0.5}), Err(TokenError::Expired)),
        (json!({"nbf": NOW + 60}), Ok(None)),
        (json!({"nbf": NOW + 61}), Err(TokenError::NotYetValid)),
        (json!({"nbf": 1e300}), Err(TokenError::NotYetValid)),
        (json!({"exp": "1900000000"}), Err(TokenError::NotATime("exp"))),
        (json!({"exp": null}), Err(TokenError::NotATime("exp"))),
        (json!({"nbf": {}}), Err(TokenError::NotATime("nbf"))),
    ] {
        let result = judge_claims(&claims, &rules()).map(|identity| identity.expires);
        assert_eq!(result, expected.map(|seconds| seconds.map(at)), "{claims}");
    }
    let fraction = judge_claims(&json!({"exp": NOW as f64 + 0.5}), &rules()).unwrap();
    assert!(!fraction.is_expired(at(NOW + 65)) && fraction.is_expired(at(NOW + 66)));
    assert!(!judge_claims(&json!({"exp": u64::MAX}), &rules()).unwrap().is_expired(at(NOW * 2)));
    assert!(!judge_claims(&json!({"exp": 1e300}), &rules()).unwrap().is_expired(at(NOW * 2)));
}

#[test]
fn audience_and_issuer_are_held_to_where_they_are_set() {
    let rules = Rules { audience: Some("walcast".to_owned()), issuer: Some("https://id".to_owned()), ..rules() };
    let both = |aud: Value, iss: Value| judge_claims(&json!({"aud": aud, "iss": iss}), &rules).map(|_| ());
    assert_eq!(both(json!("walcast"), json!("https://id")), Ok(()));
    assert_eq!(both(json!(["other", "walcast"]), json!("https://id")), Ok(()));
    for aud in [json!("other"), json!([]), json!(["Walcast"]), json!(null), json!({"walcast": 1}), json!([["walcast"]])]
    {
        assert_eq!(both(aud.clone(), json!("https://id")), Err(TokenError::Audience), "{aud}");
    }
    for iss in [json!("https://id/"), json!(["https://id"]), json!(null)] {
        assert_eq!(both(json!("walcast"), iss.clone()), Err(TokenError::Issuer), "{iss}");
    }
    assert_eq!(judge_claims(&json!({"iss": "https://id"}), &rules), Err(TokenError::Audience));
    assert_eq!(judge_claims(&json!({"aud": "walcast"}), &rules), Err(TokenError::Issuer));
}

#[test]
fn a_set_is_chosen_from_by_the_key_s_name() {
    let (one, two, rsa) = (Issuer::new(Algorithm::ES256), Issuer::new(Algorithm::ES256), Issuer::new(Algorithm::PS256));
    let keys = KeySet::of_jwks(&key_set(&[one.jwk("1"), two.jwk("2"), rsa.jwk("3")]), false).unwrap();
    let claims = json!({"sub": "u1"});
    for (issuer, kid) in [(&one, "1"), (&two, "2"), (&rsa, "3")] {
        assert!(judge(&issuer.sign_as(kid, &claims), &keys).is_ok(), "{kid}");
        assert!(judge(&issuer.sign(&claims), &keys).is_ok(), "without a name");
        assert_eq!(judge(&issuer.sign_as("4", &claims), &keys), Err(TokenError::UnknownKey));
    }
    assert_eq!(judge(&two.sign_as("1", &claims), &keys), Err(TokenError::Signature));
    assert_eq!(judge(&rsa.sign_as("1", &claims), &keys), Err(TokenError::Algorithm));
    // The key says PS256, and its owner signs with RS256 all the same.
    let narrowed = KeySet::of_jwks(&key_set(&[rsa.jwk("3")]), false).unwrap();
    let rs256 = rsa.signing_by(Algorithm::RS256);
    assert_eq!(judge(&rs256.sign_as("3", &claims), &narrowed), Err(TokenError::Algorithm));
}

#[test]
fn a_set_holds_what_can_be_used_and_nothing_else() {
    let good = Issuer::new(Algorithm::ES256).jwk("good");
    let with = |name: &str, value: Value| {
        let mut key = good.clone();
        key[name] = value;
        key
    };
    let symmetric = json!({"kty": "oct", "kid": "s", "k": part(&json!("0123456789012345678901234567890123456789"))});
    for bad in [
        symmetric.clone(),
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("alg", json!("RS256")),
        with("alg", json!("ES384")),
        with("crv", json!("P-384")),
        with("x", json!("AA")),
        with("kty", json!("LWE")),
        json!({"kty": "RSA", "n": part(&json!("short")), "e": "AQAB"}),
        json!({}),
        json!(null),
        json!([]),
    ] {
        assert_eq!(KeySet::of_jwks(&key_set(&[good.clone(), bad.clone()]), false).unwrap().len(), 1, "{bad}");
        let alone = KeySet::of_jwks(&key_set(std::slice::from_ref(&bad)), false);
        assert_eq!(alone.map(|keys| keys.len()), Err(JwksError::NoneUsable(1)), "{bad}");
    }
    assert_eq!(KeySet::of_jwks(&key_set(&[symmetric]), true).unwrap().len(), 1, "in a file of one's own");
    for garbage in [&b""[..], b"<html>", b"[]", b"{}", b"{\"keys\": 7}", b"\xff"] {
        assert_eq!(KeySet::of_jwks(garbage, false).map(|keys| keys.len()), Err(JwksError::NotASet));
    }
    let many = vec![json!({}); KEYS_MAX + 1];
    assert_eq!(KeySet::of_jwks(&key_set(&many), false).map(|it| it.len()), Err(JwksError::TooManyKeys(KEYS_MAX + 1)));
    let large = vec![b' '; 1 << 20];
    assert_eq!(KeySet::of_jwks(&large, false).map(|keys| keys.len()), Err(JwksError::TooLarge));
}

#[test]
fn key_files_that_can_not_be_used_say_why() {
    let error = |pem: &str| KeySet::of_pem(pem.as_bytes()).map(|keys| keys.len());
    assert_eq!(error(&Issuer::new(Algorithm::RS256).private_pem()), Err(KeyError::Private));
    assert_eq!(error("ssh-rsa AAAA"), Err(KeyError::NotPem));
    assert_eq!(error("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), Err(KeyError::NotPem));
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert_eq!(error(&p384.public_key_pem()), Err(KeyError::Kind));
    // openssl genrsa 1024 | openssl rsa -pubout
    let short = "-----BEGIN PUBLIC KEY-----\n\
        MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDEVfV1k85HL8pj9YJ94hTS7Aoa\n\
        FCDPuVF60S9ay0YBRmCezNBABzGT2lBfkjWeV95hexInyh32RfbrORG/tyxApg/5\n\
        TNP/WCE5eK1+MubrAE9LS5Hz76luxorQ9gx3ayP3GRKAl1m2MayiBtzHtiCeElL6\n\
        XHcjiZ5h5T4kXk48NQIDAQAB\n\
        -----END PUBLIC KEY-----\n";
    assert_eq!(error(short), Err(KeyError::RsaBits(1024)));
}

#[test]
fn no_secret_is_shown() {
    let keys = KeySet::of_secret(b"hunter2");
    assert_eq!(format!("{keys:?}"), "[(None, [HS256])]");
}

proptest! {
    #[test]
    fn any_text_is_judged(token in "[a-zA-Z0-9._=é-]{0,200}") {
        prop_assert!(judge(&token, &KeySet::of_secret(SECRET)).is_err());
    }

    #[test]
    fn any_header_and_claims_are_judged(
        alg in "(HS256|RS256|ES256|EdDSA|none|[a-zA-Z0-9]{0,6})", header in "\\PC{0,40}", claims in "\\PC{0,60}"
    ) {
        let issuer = Issuer::new(Algorithm::HS256);
        let header = json!({"alg": alg, "kid": header});
        let result = judge(&issuer.sign_with(&header, &json!({"sub": claims})), &KeySet::of_secret(SECRET));
        prop_assert_eq!(result.is_ok(), alg == "HS256");
    }

    #[test]
    fn any_document_is_a_set_or_none(document in "(\\{\"keys\":\\[)?(\\{\"kty\":\"(RSA|EC|OKP|oct)\",\"n\":\"[A-Za-z=]{0,9}\"\\})?[\\]},]{0,4}") {
        let read = KeySet::of_jwks(document.as_bytes(), true);
        prop_assert!(read.is_err());
    }
}
