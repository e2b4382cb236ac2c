//! Requests that the helper makes itself: to the endpoints of instances and containers, to GitHub, to registries.

use std::time::{Duration, Instant};

use aws_smithy_runtime_api::client::http::HttpConnectorSettings;
use aws_smithy_types::body::SdkBody;
use http::{HeaderValue, Request, Response, StatusCode};
use log::debug;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::{Network, TransportError, authority};

/// The pause before the second attempt. Each further pause is twice as long.
const PAUSE: Duration = Duration::from_millis(250);

/// The limits of a request.
#[derive(Clone, Debug)]
pub(in crate::aws) struct Limits {
    /// How long a connection may take, and the head and the body of the answer each.
    pub(in crate::aws) of_attempt: HttpConnectorSettings,
    /// The number of attempts while the results are temporary.
    pub(in crate::aws) attempts: u32,
    /// Whether another attempt may have another result.
    pub(in crate::aws) is_temporary: fn(&Result<Answer, TransportError>) -> bool,
    /// The time at which the whole must have ended.
    pub(in crate::aws) deadline: Instant,
}

/// An answer that was read to its end.
pub(in crate::aws) type Answer = Response<Zeroizing<Vec<u8>>>;

/// The value of a header that holds a secret. `None` when it is blank or has characters other than visible ASCII and blanks.
pub(in crate::aws) fn secret_value(secret: &[u8]) -> Option<HeaderValue> {
    let is_secret = |value: &HeaderValue| value.to_str().is_ok_and(|text| !text.trim().is_empty());
    let mut value = HeaderValue::from_bytes(secret).ok().filter(is_secret)?;
    value.set_sensitive(true);
    Some(value)
}

/// Whether another attempt may have another result: after an error of the server or of the connection.
pub(in crate::aws) fn is_temporary(result: &Result<Answer, TransportError>) -> bool {
    result.as_ref().map_or_else(TransportError::is_temporary, is_overloaded)
}

/// Whether the server limits the rate of requests or has a problem of its own.
pub(in crate::aws) fn is_overloaded(answer: &Answer) -> bool {
    answer.status() == StatusCode::TOO_MANY_REQUESTS || answer.status().is_server_error()
}

impl Network {
    /// Sends a request without a body, and reads the whole answer.
    pub(in crate::aws) async fn fetch(&self, request: &Request<()>, limits: &Limits) -> Result<Answer, TransportError> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let result = self.exchange(request.clone().map(|()| SdkBody::empty()), &limits.of_attempt).await;
            if attempt >= limits.attempts || !(limits.is_temporary)(&result) {
                return result;
            }
            let why = result.map_or_else(|error| error.to_string(), |answer| answer.status().to_string());
            let endpoint = authority(request.uri());
            debug!(endpoint, attempt, why; "asking again");
            sleep(fitting(pause, limits.deadline)).await;
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }
}

/// A pause before another attempt that leaves half of the time for the attempt: a result after the deadline is none.
pub(in crate::aws) fn fitting(pause: Duration, deadline: Instant) -> Duration {
    pause.min(deadline.saturating_duration_since(Instant::now()) / 2)
}
