//! The status that a refusal has in HTTP.

use hyper::StatusCode;

/// By the `reason` in a refusal's JSON.
pub(super) fn of(refusal: &[u8]) -> StatusCode {
    let json: serde_json::Value = serde_json::from_slice(refusal).unwrap_or_default();
    match json.get("reason").and_then(serde_json::Value::as_str).unwrap_or_default() {
        "unmatched topic" => StatusCode::NOT_FOUND,
        "token_expired" | "invalid_token" => StatusCode::UNAUTHORIZED,
        "unauthorized" | "event not allowed" => StatusCode::FORBIDDEN,
        "resync_required" => StatusCode::GONE,
        "rate_limited" => StatusCode::TOO_MANY_REQUESTS,
        "snapshot_too_large" | "payload_too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        "not_ready" | "snapshot_failed" | "keys_unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        "join crashed" => StatusCode::INTERNAL_SERVER_ERROR,
        // What is left are faults of the request.
        _ => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phoenix::{Body, Refusal};

    #[test]
    fn a_refusal_has_its_status() {
        for (refusal, status) in [
            (Refusal::UnmatchedTopic, 404),
            (Refusal::Unauthorized, 403),
            (Refusal::TokenExpired, 401),
            (Refusal::InvalidToken, 401),
            (Refusal::KeysUnavailable, 503),
            (Refusal::InvalidFilter { message: "x".to_owned() }, 400),
            (Refusal::ResyncRequired, 410),
            (Refusal::NotReady, 503),
            (Refusal::SnapshotFailed, 503),
            (Refusal::SnapshotTooLarge, 413),
            (Refusal::PayloadTooLarge, 413),
            (Refusal::InvalidPayload, 400),
            (Refusal::InvalidEvent { message: "x".to_owned() }, 400),
            (Refusal::EventNotAllowed, 403),
            (Refusal::RateLimited, 429),
            (Refusal::JoinCrashed, 500),
        ] {
            let Body::Json(json) = refusal.response() else { panic!("a refusal is JSON") };
            assert_eq!(of(&json).as_u16(), status, "{refusal:?}");
        }
    }
}
