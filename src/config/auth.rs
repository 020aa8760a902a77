//! `[auth]` and `server.origins`: who may connect, and what is wrong with how that is said.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Auth;
use super::code::Code;
use super::defaults as default;
use super::diagnostic::{Finding, Span};
use super::document::{Reader, Section};
use super::expand::Text;
use crate::auth::{
    JwksUrl, JwksUrlError, KeyError, KeySet, KeySource, Origin, Origins, Rules, SECRET_BYTES_SAFE, Tokens,
};

/// A key file is a few kilobytes; a set of keys up to some hundred.
const KEY_FILE_BYTES_MAX: u64 = 1 << 20;
const ONE_KEY: &str = "give one of `secret` (HS256), `public_key_file` (RS256, PS256, ES256, EdDSA), `jwks_file` and \
                       `jwks_url`";

#[derive(Clone, Copy)]
enum Mode {
    None,
    Jwt,
}

/// The keys that say where keys come from, as they stand in the file.
#[derive(Clone, Copy)]
enum Kind {
    Secret,
    PublicKeyFile,
    JwksFile,
    JwksUrl { plain_http: bool },
}

/// `None` only together with a finding.
pub(super) fn section(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Option<Auth> {
    let mut section = reader.section(root, "auth");
    let mode = reader.choice(&mut section, "mode", &[("jwt", Mode::Jwt), ("none", Mode::None)]);
    if section.key_span("mode").is_none() {
        let help = "write `[auth]` and `mode = \"none\"` to let anyone in; there is no silent open door";
        reader.missing(&section, "mode", help);
    }
    let sources = sources(reader, &mut section);
    let rules = Rules {
        audience: reader.text(&mut section, "audience").map(|text| text.value),
        issuer: reader.text(&mut section, "issuer").map(|text| text.value),
        leeway: reader.duration(&mut section, "leeway", default::LEEWAY, default::LEEWAY_ALLOWED),
        grace: reader.duration(&mut section, "grace", default::GRACE, default::GRACE_ALLOWED),
    };
    reader.finish(section);
    match mode? {
        (Mode::None, span) => {
            unused(reader, &sources, span);
            Some(Auth::None)
        }
        (Mode::Jwt, span) => {
            let (kind, text) = one(reader, sources, span)?;
            Some(Auth::Jwt(Tokens { keys: source(reader, kind, &text)?, rules }))
        }
    }
}

fn sources(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Vec<(Kind, Text)> {
    let plain_http = reader.flag(section, "jwks_plain_http").is_some_and(|(flag, _)| flag);
    let keys = [
        ("secret", Kind::Secret),
        ("public_key_file", Kind::PublicKeyFile),
        ("jwks_file", Kind::JwksFile),
        ("jwks_url", Kind::JwksUrl { plain_http }),
    ];
    keys.into_iter().filter_map(|(key, kind)| Some((kind, reader.text(section, key)?))).collect()
}

fn unused(reader: &mut Reader<'_>, sources: &[(Kind, Text)], mode: Span) {
    if let Some((_, text)) = sources.first() {
        reader.findings.push(
            Finding::warning(Code::AuthKeys, "a key for tokens is given, but no token is checked")
                .label(text.span.clone(), "not used")
                .label(mode, "with this mode anyone may connect")
                .help("remove the key, or write `mode = \"jwt\"`"),
        );
    }
}

fn one(reader: &mut Reader<'_>, sources: Vec<(Kind, Text)>, mode: Span) -> Option<(Kind, Text)> {
    let finding = match &*sources {
        [_] => return sources.into_iter().next(),
        [] => Finding::error(Code::AuthKeys, "nothing to check tokens with").label(mode, "this mode needs a key"),
        [(_, first), (_, second), ..] => Finding::error(Code::AuthKeys, "more than one key to check tokens with")
            .label(second.span.clone(), "which one is to be used?")
            .label(first.span.clone(), "the first is here"),
    };
    reader.findings.push(finding.help(ONE_KEY));
    None
}

fn source(reader: &mut Reader<'_>, kind: Kind, text: &Text) -> Option<KeySource> {
    match kind {
        Kind::Secret => secret(reader, text),
        Kind::PublicKeyFile => {
            let (_, content) = key_file(reader, "public_key_file", text)?;
            match KeySet::of_pem(&content) {
                Ok(keys) => Some(KeySource::Fixed(keys)),
                Err(error) => unusable(reader, "public_key_file", text, &error.to_string(), pem_help(error)),
            }
        }
        Kind::JwksFile => {
            let (path, content) = key_file(reader, "jwks_file", text)?;
            match KeySet::of_jwks(&content, true) {
                Ok(read) => Some(KeySource::File { path, read }),
                Err(error) => {
                    let help =
                        "a key set looks like `{\"keys\": [{\"kty\": \"RSA\", \"kid\": …, \"n\": …, \"e\": …}]}`";
                    unusable(reader, "jwks_file", text, &error.to_string(), help)
                }
            }
        }
        Kind::JwksUrl { plain_http } => jwks_url(reader, text, plain_http),
    }
}

fn secret(reader: &mut Reader<'_>, text: &Text) -> Option<KeySource> {
    let (secret, span) = (text.value.as_bytes(), text.span.clone());
    if secret.is_empty() {
        let finding = Finding::error(Code::AuthKeys, "the secret is empty").label(span, "anyone could sign with it");
        reader.findings.push(finding.help(ONE_KEY));
        return None;
    }
    if text.value.contains("-----BEGIN") {
        reader.findings.push(
            Finding::error(Code::AuthKeys, "the secret is a key in PEM")
                .label(span, "HS256 would take its text for the secret")
                .note("a public key is no secret: anyone who has it could sign")
                .help("write the key to a file and name that as `public_key_file`"),
        );
        return None;
    }
    if secret.len() < SECRET_BYTES_SAFE {
        reader.findings.push(
            Finding::warning(Code::WeakSecret, format!("the secret has {} bytes", secret.len()))
                .label(span, "short enough to be guessed")
                .note(format!("whoever has one token can try secrets at leisure; HS256 asks for {SECRET_BYTES_SAFE}"))
                .help("make one with `openssl rand -base64 32`"),
        );
    }
    Some(KeySource::Fixed(KeySet::of_secret(secret)))
}

fn key_file(reader: &mut Reader<'_>, key: &str, text: &Text) -> Option<(PathBuf, Vec<u8>)> {
    let path = reader.folder().join(&text.value);
    match read(&path) {
        Ok(content) => Some((path, content)),
        Err(error) => {
            reader.findings.push(
                Finding::error(Code::KeyFile, format!("the file of `auth.{key}` can't be read"))
                    .label(text.span.clone(), error.to_string())
                    .note("a relative path starts at the folder of this file")
                    .help("put the file there, and let the user that runs walcast read it"),
            );
            None
        }
    }
}

/// What is longer than any key file is cut, and is none then.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(KEY_FILE_BYTES_MAX).read_to_end(&mut content)?;
    Ok(content)
}

fn unusable(reader: &mut Reader<'_>, key: &str, text: &Text, problem: &str, help: &str) -> Option<KeySource> {
    reader.findings.push(
        Finding::error(Code::KeyFile, format!("tokens can't be checked with the file of `auth.{key}`"))
            .label(text.span.clone(), problem)
            .help(help),
    );
    None
}

const fn pem_help(error: KeyError) -> &'static str {
    match error {
        KeyError::Private => "write the public key out with `openssl pkey -in private.pem -pubout`",
        KeyError::NotPem | KeyError::Kind | KeyError::RsaBits(_) => {
            "an RSA (2048 bits or more), P-256 or Ed25519 key begins with `-----BEGIN PUBLIC KEY-----`"
        }
    }
}

fn jwks_url(reader: &mut Reader<'_>, text: &Text, plain_http: bool) -> Option<KeySource> {
    let error = match JwksUrl::parse(&text.value, plain_http) {
        Ok(url) => return Some(KeySource::Url(url)),
        Err(error) => error,
    };
    let help = match error {
        JwksUrlError::PlainHttp => {
            "write `https://`; or, inside a network of your own, `jwks_plain_http = true` beside"
        }
        JwksUrlError::Credentials | JwksUrlError::NotAUrl | JwksUrlError::Scheme => {
            "write the issuer's `jwks_uri`, as in `https://id.example.com/.well-known/jwks.json`"
        }
    };
    reader.findings.push(
        Finding::error(Code::KeyUrl, "keys can't be fetched from `auth.jwks_url`")
            .label(text.span.clone(), error.to_string())
            .help(help),
    );
    None
}

/// `server.origins`; without it, or with a finding, every origin.
pub(super) fn origins(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Origins {
    let Some(list) = reader.texts(section, "origins") else { return Origins::default() };
    if list.items.is_empty() {
        reader.findings.push(
            Finding::error(Code::EmptyList, "`server.origins` is empty")
                .label(list.span, "no page could connect")
                .help("leave the key out to let every page connect, or list those that may"),
        );
    }
    let mut origins = Vec::with_capacity(list.items.len());
    for text in list.items {
        match Origin::parse(&text.value) {
            Ok(origin) => origins.push(origin),
            Err(error) => reader.findings.push(
                Finding::error(Code::BadOrigin, "an origin of `server.origins` is none that a browser sends")
                    .label(text.span, error.to_string())
                    .help("write `https://app.example.com`, `//app.example.com` for any scheme and port, or `//*.example.com`"),
            ),
        }
    }
    Origins::only(origins)
}
