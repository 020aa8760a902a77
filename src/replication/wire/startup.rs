//! The beginning of a replication session: startup packet and authentication.

use std::collections::HashMap;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::ChannelBinding as Policy;
use tokio_postgres::fallible_iterator::FallibleIterator;

use super::config::ConnectionConfig;
use super::error::WireError;
use super::framed::{Backend, Framed};

const DURING: &str = "authenticating";

/// What the server reports of a session (`ParameterStatus`).
pub(super) type Parameters = HashMap<String, String>;

/// Makes a fresh stream a session that takes replication commands and simple queries.
///
/// `certificate_hash` is what SCRAM may bind to on an encrypted stream.
pub(super) async fn start<S: AsyncRead + AsyncWrite + Unpin>(
    framed: &mut Framed<S>,
    config: &ConnectionConfig,
    certificate_hash: Option<Vec<u8>>,
) -> Result<Parameters, WireError> {
    let postgres = &config.postgres;
    let parameters = [
        ("user", config.user()),
        ("database", config.database()),
        ("replication", "database"),
        ("client_encoding", "UTF8"),
        ("application_name", postgres.get_application_name().unwrap_or_default()),
        ("options", postgres.get_options().unwrap_or_default()),
    ];
    send(framed, |buffer| frontend::startup_message(parameters, buffer)).await?;
    authenticate(framed, config, certificate_hash).await?;
    session_parameters(framed).await
}

async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
    framed: &mut Framed<S>,
    config: &ConnectionConfig,
    certificate_hash: Option<Vec<u8>>,
) -> Result<(), WireError> {
    let password = || config.postgres.get_password().ok_or(WireError::PasswordMissing);
    let binding = config.postgres.get_channel_binding();
    let request = receive(framed).await?;
    if binding == Policy::Require && !matches!(request, Message::AuthenticationSasl(_)) {
        return Err(WireError::ChannelBinding("the server does not ask for SCRAM"));
    }
    match request {
        Message::AuthenticationOk => return Ok(()),
        Message::AuthenticationCleartextPassword => {
            let password = password()?;
            send(framed, |buffer| frontend::password_message(password, buffer)).await?;
        }
        Message::AuthenticationMd5Password(body) => {
            let hash = md5_hash(config.user().as_bytes(), password()?, body.salt());
            send(framed, |buffer| frontend::password_message(hash.as_bytes(), buffer)).await?;
        }
        Message::AuthenticationSasl(body) => {
            authenticate_scram(framed, password()?, &body, binding, certificate_hash).await?;
        }
        other => return Err(unsupported(&other)),
    }
    match receive(framed).await? {
        Message::AuthenticationOk => Ok(()),
        _ => Err(WireError::protocol(DURING, "no AuthenticationOk after the password")),
    }
}

fn unsupported(request: &Message) -> WireError {
    WireError::AuthenticationUnsupported(match request {
        Message::AuthenticationGss => "GSSAPI",
        Message::AuthenticationSspi => "SSPI",
        Message::AuthenticationKerberosV5 => "Kerberos 5",
        _ => return WireError::protocol(DURING, "a message that is no authentication request"),
    })
}

async fn authenticate_scram<S: AsyncRead + AsyncWrite + Unpin>(
    framed: &mut Framed<S>,
    password: &[u8],
    body: &AuthenticationSaslBody,
    policy: Policy,
    certificate_hash: Option<Vec<u8>>,
) -> Result<(), WireError> {
    let (mechanism, binding) = mechanism(body, policy, certificate_hash)?;
    let mut scram = ScramSha256::new(password, binding);
    send(framed, |buffer| frontend::sasl_initial_response(mechanism, scram.message(), buffer)).await?;
    let Message::AuthenticationSaslContinue(challenge) = receive(framed).await? else {
        return Err(WireError::protocol(DURING, "no SCRAM challenge"));
    };
    scram.update(challenge.data()).map_err(|error| WireError::Scram(error.to_string()))?;
    send(framed, |buffer| frontend::sasl_response(scram.message(), buffer)).await?;
    let Message::AuthenticationSaslFinal(proof) = receive(framed).await? else {
        return Err(WireError::protocol(DURING, "no SCRAM proof"));
    };
    scram.finish(proof.data()).map_err(|error| WireError::Scram(error.to_string()))
}

/// Binds to the channel where both sides can. A client that could and a server that does not offer it are told apart
/// from a client that can't, so that a server notices when someone in between took the offer away.
fn mechanism(
    body: &AuthenticationSaslBody,
    policy: Policy,
    certificate_hash: Option<Vec<u8>>,
) -> Result<(&'static str, sasl::ChannelBinding), WireError> {
    let offered: Vec<&str> = body.mechanisms().collect().map_err(|error| WireError::protocol(DURING, error))?;
    let hash = certificate_hash.filter(|_| policy != Policy::Disable);
    let (mechanism, binding) = match hash {
        Some(hash) if offered.contains(&sasl::SCRAM_SHA_256_PLUS) => {
            (sasl::SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(hash))
        }
        Some(_) => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
        None => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
    };
    if !offered.contains(&mechanism) {
        return Err(WireError::AuthenticationUnsupported("an unknown kind of SASL"));
    }
    if policy == Policy::Require && mechanism != sasl::SCRAM_SHA_256_PLUS {
        return Err(WireError::ChannelBinding(
            "the connection has nothing to bind to, or the server does not offer it",
        ));
    }
    Ok((mechanism, binding))
}

/// Everything up to the first `ReadyForQuery`.
async fn session_parameters<S: AsyncRead + AsyncWrite + Unpin>(
    framed: &mut Framed<S>,
) -> Result<Parameters, WireError> {
    let mut parameters = Parameters::new();
    loop {
        match receive(framed).await? {
            Message::ParameterStatus(body) => {
                let (name, value) = (body.name(), body.value());
                let text = |text: std::io::Result<&str>| {
                    text.map(str::to_owned).map_err(|error| WireError::protocol(DURING, error))
                };
                parameters.insert(text(name)?, text(value)?);
            }
            // Nothing is ever cancelled over the replication connection.
            Message::BackendKeyData(_) => {}
            Message::ReadyForQuery(_) => return Ok(parameters),
            _ => return Err(WireError::protocol(DURING, "a message that does not belong to the startup")),
        }
    }
}

async fn receive<S: AsyncRead + AsyncWrite + Unpin>(framed: &mut Framed<S>) -> Result<Message, WireError> {
    match framed.message(DURING).await? {
        Backend::Message(message) => Ok(message),
        Backend::CopyBoth => Err(WireError::protocol(DURING, "CopyBothResponse")),
    }
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    framed: &mut Framed<S>,
    encode: impl FnOnce(&mut BytesMut) -> std::io::Result<()>,
) -> Result<(), WireError> {
    encode(&mut framed.write).map_err(|error| WireError::protocol(DURING, error))?;
    framed.flush().await
}
