//! `[server]` and `[server.tls]`: where walcast listens, and how.

use std::time::{SystemTime, UNIX_EPOCH};

use super::address::{Address, AddressError};
use super::auth;
use super::code::Code;
use super::defaults as default;
use super::diagnostic::{Finding, Span};
use super::document::{Reader, Section};
use super::expand::Text;
use super::{Server, SocketMode};
use crate::auth::{Host, Hosts};
use crate::tls::{Certificate, Files, FilesError, Problem, Which};

pub(super) fn section(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Server {
    let mut section = reader.section(root, "server");
    let listen = addresses(reader, &mut section, "listen", default::LISTEN);
    let admin = addresses(reader, &mut section, "admin", default::ADMIN);
    let socket_mode = socket_mode(reader, &mut section);
    let compression = reader.flag(&mut section, "compression").is_some_and(|(flag, _)| flag);
    let origins = auth::origins(reader, &mut section);
    let hosts = hosts(reader, &mut section);
    let tls = match reader.subsection(&mut section, "tls", "server.tls") {
        Some(section) => tls(reader, section, &listen),
        None => None,
    };
    reader.finish(section);
    find_collisions(reader, &listen, &admin);
    let places = |addresses: Vec<Place>| addresses.into_iter().map(|place| place.address).collect();
    Server { listen: places(listen), admin: places(admin), socket_mode, tls, compression, origins, hosts }
}

/// An empty list stands for addresses and `localhost` alone.
fn hosts(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<Hosts> {
    let list = reader.texts(section, "hosts")?;
    let mut hosts = Vec::with_capacity(list.items.len());
    for text in list.items {
        match Host::parse(&text.value) {
            Ok(host) => hosts.push(host),
            Err(error) => reader.findings.push(
                Finding::error(Code::BadHost, "a host of `server.hosts` is none that a browser sends")
                    .label(text.span, error.to_string())
                    .help("write `walcast.example.com`, or `*.example.com`; addresses and `localhost` need no entry"),
            ),
        }
    }
    Some(Hosts::new(hosts))
}

/// An address and where it stands, if it does.
pub(super) struct Place {
    pub(super) address: Address,
    pub(super) span: Option<Span>,
}

/// At least one; the default where none can be used.
pub(super) fn addresses(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    key: &'static str,
    default: std::net::SocketAddr,
) -> Vec<Place> {
    let by_default = || vec![Place { address: Address::Tcp(default), span: None }];
    let Some(list) = reader.text_or_texts(section, key) else { return by_default() };
    if list.items.is_empty() {
        reader.findings.push(
            Finding::error(Code::EmptyList, format!("`server.{key}` is empty"))
                .label(list.span, "nobody could connect")
                .help(format!("leave the key out for its default, or write `{key} = \"{default}\"`")),
        );
    }
    let mut places = Vec::with_capacity(list.items.len());
    for text in list.items {
        match Address::parse(&text.value, reader.folder()) {
            Ok(address) => places.push(Place { address, span: Some(text.span) }),
            Err(error) => reader.findings.push(bad_address(key, text, error, default)),
        }
    }
    if places.is_empty() { by_default() } else { places }
}

fn bad_address(key: &str, text: Text, error: AddressError, default: std::net::SocketAddr) -> Finding {
    let AddressError { problem, guess } = error;
    let help = guess.map_or_else(|| format!("write `{key} = \"{default}\"`"), |guess| format!("write `\"{guess}\"`"));
    Finding::error(Code::BadAddress, format!("`server.{key}` is not an address")).label(text.span, problem).help(help)
}

fn find_collisions(reader: &mut Reader<'_>, listen: &[Place], admin: &[Place]) {
    let listen = listen.iter().map(|place| ("listen", place));
    let all: Vec<_> = listen.chain(admin.iter().map(|place| ("admin", place))).collect();
    for (index, (key, place)) in all.iter().enumerate() {
        let mut earlier = all.iter().take(index);
        let Some((first_key, first)) = earlier.find(|(_, first)| first.address.collides(&place.address)) else {
            continue;
        };
        let (message, help) = if first_key == key {
            let message = format!("two of `server.{key}` are the same address");
            (message, "keep one of them; `[::]` takes what comes by IPv4, too")
        } else {
            let message = "`server.listen` and `server.admin` are the same address".to_owned();
            (message, "give `admin` a port of its own; it serves what clients must not see")
        };
        let mut finding = Finding::error(Code::SameAddress, message).help(help);
        for (span, what) in [(&place.span, "the second to listen here"), (&first.span, "the first")] {
            finding = match span {
                Some(span) => finding.label(span.clone(), what),
                None => finding,
            };
        }
        reader.findings.push(finding);
    }
}

fn socket_mode(reader: &mut Reader<'_>, section: &mut Section<'_>) -> SocketMode {
    let Some(text) = reader.text(section, "socket_mode") else { return default::SOCKET_MODE };
    let mode = u32::from_str_radix(&text.value, 8).ok();
    let is_digits = text.value.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(mode) = mode.filter(|mode| *mode <= default::SOCKET_MODE_MAX && is_digits) {
        return SocketMode(mode);
    }
    reader.findings.push(
        Finding::error(Code::BadMode, "`server.socket_mode` is not a file's permissions")
            .label(text.span, "three octal digits are expected: of the user, the group, and everyone else")
            .help(format!("write `socket_mode = \"{}\"`: who may write may connect", default::SOCKET_MODE)),
    );
    default::SOCKET_MODE
}

fn tls(reader: &mut Reader<'_>, mut section: Section<'_>, listen: &[Place]) -> Option<Files> {
    let help = "name a file in PEM: the server's certificate, followed by those that lead to its authority";
    let certificate = reader.required_text(&mut section, "certificate_file", help);
    let key = reader.required_text(&mut section, "key_file", "name the file in PEM with the certificate's private key");
    let span = section.span.clone();
    reader.finish(section);
    if let Some(span) = span.filter(|_| listen.iter().all(|place| place.address.socket().is_none())) {
        reader.findings.push(
            Finding::warning(Code::TlsUnused, "a certificate is given, but nothing is encrypted with it")
                .label(span, "not used")
                .note("whoever connects to a Unix socket is on this machine, and is not asked for TLS")
                .help("remove the section, or add an address like `0.0.0.0:443` to `listen`"),
        );
    }
    let (certificate, key) = (certificate?, key?);
    let folder = reader.folder();
    let files = Files { certificate: folder.join(&certificate.value), key: folder.join(&key.value) };
    judge(reader, &files, &certificate, &key);
    Some(files)
}

fn judge(reader: &mut Reader<'_>, files: &Files, certificate: &Text, key: &Text) {
    let unreadable = files.unreadable();
    if !unreadable.is_empty() {
        return reader.findings.extend(unreadable.iter().map(|error| unusable(error, certificate, key)));
    }
    let validity = match Certificate::read(files) {
        Ok(certificate) => certificate.validity,
        Err(error) => return reader.findings.push(unusable(&error, certificate, key)),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let problem = if validity.has_ended(now) {
        "it has expired"
    } else if validity.is_to_come(now) {
        "it is not valid yet"
    } else {
        return;
    };
    reader.findings.push(
        Finding::warning(Code::CertificateExpired, "clients won't accept the certificate")
            .label(certificate.span.clone(), problem)
            .note("a running walcast takes a new certificate as soon as it is in its file")
            .help("renew it; and compare this machine's clock with another's"),
    );
}

fn unusable(error: &FilesError, certificate: &Text, key: &Text) -> Finding {
    let (name, text) = match error.which {
        Which::Certificate => ("certificate_file", certificate),
        Which::Key => ("key_file", key),
    };
    let problem = error.problem.to_string();
    let finding = |code, message: String| Finding::error(code, message).label(text.span.clone(), problem);
    let unusable = format!("nothing can be encrypted with the file of `server.tls.{name}`");
    match &error.problem {
        Problem::Unreadable(_) => finding(Code::TlsFile, format!("the file of `server.tls.{name}` can't be read"))
            .note("a relative path starts at the folder of this file")
            .help("put the file there, and let the user that runs walcast read it"),
        Problem::NoCertificate | Problem::Malformed => {
            finding(Code::TlsFile, unusable).help("a certificate in PEM begins with `-----BEGIN CERTIFICATE-----`")
        }
        Problem::NoKey => {
            finding(Code::TlsFile, unusable).help("a private key in PEM begins with `-----BEGIN PRIVATE KEY-----`")
        }
        Problem::EncryptedKey => finding(Code::TlsFile, unusable)
            .help("write it out without a password: `openssl pkey -in encrypted.pem -out key.pem`, readable by walcast only"),
        Problem::KeyKind => {
            finding(Code::TlsFile, unusable).help("use an ECDSA key (P-256), an RSA key of 2048 bits or more, or Ed25519")
        }
        Problem::Mismatch => finding(Code::TlsMismatch, "the certificate and the key don't belong together".to_owned())
            .label(certificate.span.clone(), "the certificate")
            .help("both commands must print the same: `openssl x509 -in certificate.pem -noout -pubkey` and `openssl pkey -in key.pem -pubout`"),
    }
}
