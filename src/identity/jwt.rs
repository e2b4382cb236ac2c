//! What the token of another identity provider says about its holder.
//!
//! Every claim of a JWT may decide which session AWS gives, or whether it gives one: STS copies some of them into the session
//! (tags, source identity), and trust policies test others. So all of them count, except those that tell when and under which
//! number the token was made, which change with every rotation. The signature does not count: the holder of the file or the
//! variable could have written any claim.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::hash::KeyHasher;

/// Who accepts the token, and which claims that service sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Acceptor {
    /// STS. It does not see to which pod and node a Kubernetes token is bound.
    Sts,
    /// The endpoint of a container: EKS Pod Identity tags the session with the pod.
    Container,
}

/// When the token was made, how long it counts, and its number (RFC 7519, section 4.1; OpenID Connect Core, section 2; Kubernetes, "Bound service
/// account tokens").
const OF_ISSUE: [&str; 6] = ["exp", "iat", "nbf", "auth_time", "jti", "warnafter"];

/// The claim with which Kubernetes describes a service account, and the parts of it that STS does not see.
const KUBERNETES: &str = "kubernetes.io";
const BOUND_TO: [&str; 2] = ["pod", "node"];

/// The digest of a token: the same for all JWTs with the same claims, and another for each other token.
pub(super) fn digest(token: &[u8], acceptor: Acceptor) -> String {
    let mut parts = KeyHasher::default();
    match claims(token) {
        Some(mut claims) => {
            claims.retain(|name, _| !OF_ISSUE.contains(&name.as_str()));
            if let Some(Value::Object(of_account)) = claims.get_mut(KUBERNETES) {
                of_account.retain(|name, _| !OF_ISSUE.contains(&name.as_str()));
                if acceptor == Acceptor::Sts {
                    of_account.retain(|name, _| !BOUND_TO.contains(&name.as_str()));
                }
            }
            // One audience may be a text or a list.
            if let Some(audience @ Value::String(_)) = claims.get_mut("aud") {
                *audience = Value::Array(vec![audience.take()]);
            }
            // The map is sorted.
            parts.add("claims", Value::Object(claims).to_string());
        }
        None => parts.add("token", token),
    }
    parts.into_key().to_string()
}

/// The issuer and the subject that a JWT claims.
pub fn issuer_and_subject(token: &[u8]) -> Option<(String, String)> {
    let claims = claims(token)?;
    Some((claims["iss"].as_str()?.to_owned(), claims["sub"].as_str()?.to_owned()))
}

/// The claims of a JWT with an issuer and a subject.
fn claims(token: &[u8]) -> Option<Map<String, Value>> {
    let mut parts = std::str::from_utf8(token).ok()?.trim().split('.');
    let (_header, payload, _signature, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Map<String, Value> = serde_json::from_slice(&bytes).ok()?;
    ["iss", "sub"].iter().all(|name| claims.get(*name).is_some_and(Value::is_string)).then_some(claims)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::{Acceptor, digest};

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"iss":"i","sub":"s"{claims}}}"#)))
    }

    fn sts(claims: &str) -> String {
        digest(jwt(claims).as_bytes(), Acceptor::Sts)
    }

    #[test]
    fn every_claim_counts_except_those_of_the_issue() {
        let plain = sts(r#","aud":"a""#);
        for same in [
            r#","aud":["a"]"#,
            r#","aud":"a","exp":1,"iat":2,"nbf":3,"auth_time":4,"jti":"5","warnafter":6"#,
            r#","iat":9,"aud":"a""#,
        ] {
            assert_eq!(sts(same), plain, "{same}");
        }
        let mut all = vec![plain];
        for other in [
            "",
            r#","aud":"b""#,
            r#","aud":["a","b"]"#,
            r#","aud":"a","amr":["x"]"#,
            r#","aud":"a","https://aws.amazon.com/tags":{"principal_tags":{"team":["x"]}}"#,
            r#","aud":"a","https://aws.amazon.com/tags":{"principal_tags":{"team":["y"]}}"#,
        ] {
            let digest = sts(other);
            assert!(!all.contains(&digest), "{other}");
            all.push(digest);
        }
    }

    #[test]
    fn sts_does_not_see_the_pod_and_the_endpoint_of_a_container_does() {
        let account =
            |rest: &str| format!(r#","kubernetes.io":{{"namespace":"n","serviceaccount":{{"uid":"u"}}{rest}}}"#);
        let of_pod = account(r#","pod":{"uid":"p"},"node":{"uid":"n"},"warnafter":1"#);
        let of_other = account(r#","pod":{"uid":"q"},"node":{"uid":"n"},"warnafter":2"#);
        assert_eq!(sts(&of_pod), sts(&of_other));
        assert_ne!(sts(&of_pod), sts(&of_pod.replace(r#""uid":"u""#, r#""uid":"v""#)));
        let container = |claims: &str| digest(jwt(claims).as_bytes(), Acceptor::Container);
        assert_ne!(container(&of_pod), container(&of_other));
        assert_eq!(container(&of_pod), container(&of_pod.replace(r#""warnafter":1"#, r#""warnafter":2"#)));
    }

    #[test]
    fn a_token_that_is_no_jwt_counts_whole() {
        for [one, other] in [["a", "b"], ["a.b.c", "a.b.d"], [&jwt(""), &(jwt("") + ".x")]] {
            assert_ne!(digest(one.as_bytes(), Acceptor::Sts), digest(other.as_bytes(), Acceptor::Sts), "{one}");
        }
    }
}
