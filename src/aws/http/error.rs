//! Why a request got no answer.

use std::error::Error;
use std::fmt;
use std::io;

use aws_smithy_runtime_api::client::result::ConnectorError;
use http::StatusCode;

use crate::aws::dns::NameError;
use crate::aws::sdk_error::chain;
use crate::error::system_limit;

/// Why a request got no answer.
#[derive(Debug)]
pub(in crate::aws) enum TransportError {
    /// The host's name has no address.
    UnknownName,
    /// No name server says whether it has one, for this reason if any is known.
    NameServer(String),
    /// No name server said so within the time limit.
    SlowName,
    /// No connection: refused, reset, no route.
    Connect(io::Error),
    /// No connection within the time limit, with the number of addresses that were tried: 0 once one has accepted.
    SlowConnection(usize),
    /// A connection, but no answer within the time limit.
    SlowAnswer,
    /// TLS failed, e.g. over the server's certificate.
    Tls(rustls::Error),
    /// The program was built for FIPS, and the cryptography is not in that mode.
    NotFips,
    /// The value of this variable names no proxy that can be used, but is something else, as the words say.
    BadProxy(&'static str, &'static str),
    /// The proxy answered that it does not connect.
    RefusedByProxy(StatusCode),
    /// No connection to the proxy itself, or what is there is none.
    NoProxy(Box<TransportError>),
    /// The answer is not HTTP, or the connection was closed before its end.
    Http(hyper::Error),
    /// The answer exceeds a limit or is not what was asked for, as these words say.
    Unusable(&'static str),
    /// The request cannot be sent, e.g. because of its URL.
    BadRequest(http::Error),
}

impl TransportError {
    /// Where a limit of the system is the reason, that is what the error says.
    pub(super) fn from_name(error: NameError) -> Self {
        let text = error.to_string();
        match error {
            _ if system_limit(&text).is_some() => Self::Connect(io::Error::other(text)),
            NameError::Unknown(_) => Self::UnknownName,
            NameError::Failed(why) => Self::NameServer(why),
            NameError::Late => Self::SlowName,
        }
    }

    /// Whether it is not known whether the name has an address.
    pub(in crate::aws) fn is_of_name_server(&self) -> bool {
        matches!(self, Self::NameServer(_) | Self::SlowName)
    }

    /// Whether another attempt may have another result.
    pub(in crate::aws) fn is_temporary(&self) -> bool {
        matches!(self, Self::UnknownName | Self::NameServer(_) | Self::Connect(_) | Self::NoProxy(_))
            || matches!(self, Self::Http(error) if !has_broken_body(error))
    }

    /// Whether there was an answer, which is unusable or not HTTP.
    pub(in crate::aws) fn is_of_answer(&self) -> bool {
        matches!(self, Self::Unusable(_))
            || matches!(self, Self::Http(error) if error.is_parse() || has_broken_body(error))
    }

    /// With TLS 1.3, a server may end the connection over the handshake after the client has taken it for done.
    pub(super) fn from_http(error: hyper::Error) -> Self {
        let alert = chain(&error).find_map(|cause| match cause.downcast_ref() {
            Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
            _ => None,
        });
        alert.map_or(Self::Http(error), |alert| Self::Tls(rustls::Error::AlertReceived(alert)))
    }

    /// A body that does not come to its end belongs to an answer.
    pub(super) fn from_body(error: hyper::Error) -> Self {
        match Self::from_http(error) {
            Self::Http(error) if !has_broken_body(&error) => Self::Unusable("was cut off"),
            error => error,
        }
    }

    /// tokio-rustls wraps its errors in `io::Error`.
    pub(super) fn from_io(error: io::Error) -> Self {
        match error.downcast::<rustls::Error>() {
            Ok(error) => Self::Tls(error),
            Err(error) => Self::Connect(error),
        }
    }
}

/// Whether the parts of a body are not as HTTP prescribes, rather than that the connection ended before them.
fn has_broken_body(error: &hyper::Error) -> bool {
    let kind = chain(error).find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownName => f.write_str("unknown host name"),
            Self::NameServer(why) if why.is_empty() => f.write_str("the name server failed"),
            Self::NameServer(why) => write!(f, "the name server failed ({why})"),
            Self::SlowName => f.write_str("its name could not be resolved in time"),
            Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                f.write_str("connection refused")
            }
            Self::Connect(error) => error.fmt(f),
            Self::SlowConnection(tried @ 2..) => write!(f, "none of {tried} addresses accepts a connection"),
            Self::SlowConnection(_) | Self::SlowAnswer => f.write_str("it does not answer"),
            Self::Tls(rustls::Error::InvalidMessage(_)) => {
                f.write_str("what is there does not speak TLS; its URL may have to begin with http://")
            }
            Self::Tls(error) => error.fmt(f),
            Self::NotFips => f.write_str("the cryptography is not in FIPS mode"),
            Self::BadProxy(variable, wrong) => write!(f, "{variable} {wrong}"),
            Self::RefusedByProxy(status) => status.fmt(f),
            Self::NoProxy(error) => error.fmt(f),
            Self::Http(error) if has_broken_body(error) => f.write_str("its body is not what HTTP prescribes"),
            Self::Http(error) => error.fmt(f),
            Self::Unusable(how) => write!(f, "its answer {how}"),
            Self::BadRequest(error) => error.fmt(f),
        }
    }
}

impl Error for TransportError {}

impl From<TransportError> for ConnectorError {
    /// Classifies the error for the SDK, which retries timeouts and errors of input and output. An untrusted certificate and a
    /// proxy's refusal are neither: a retry gets the same answer.
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::SlowName | TransportError::SlowConnection(_) | TransportError::SlowAnswer => {
                Self::timeout(error.into())
            }
            TransportError::BadRequest(_) | TransportError::BadProxy(..) => Self::user(error.into()),
            _ if error.is_temporary() => Self::io(error.into()),
            _ => Self::other(error.into(), None),
        }
    }
}
