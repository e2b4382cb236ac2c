//! What the token of another identity provider says about its holder.
//!
//! Every claim of a JWT may decide which session AWS gives, or whether it gives one: STS copies some of them into the session
//! (tags, source identity), and trust policies test others. So all of them count, except those that tell when and under which
//! number the token was made, which change with every rotation. The signature does not count: the holder of the file or the
//! variable could have written any claim. Of a claim that is there twice, readers take one or the other, so such a token counts
//! whole, as does one that is no JWT.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

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

/// How the subjects of Kubernetes service accounts begin.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// The claim with which Kubernetes describes a service account, and the parts of it that STS does not see.
const KUBERNETES: &str = "kubernetes.io";
const BOUND_TO: [&str; 2] = ["pod", "node"];

/// What is wrong about a token by its form, as a hint without any of it. A container's may have a scheme before it.
pub fn form_hint(token: &[u8], acceptor: Acceptor) -> Option<String> {
    let is_blank = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
    let has_scheme = || token.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"bearer "));
    let form = match token {
        [0xef, 0xbb, 0xbf, ..] => "begins with a byte-order mark",
        [b'"' | b'\'', ..] => "is in quotes",
        [b'{', ..] => "is JSON",
        [.., b'\n' | b'\r'] => "ends in a newline",
        _ if is_blank(token.first()) => "begins with a blank",
        _ if is_blank(token.last()) => "ends in a blank",
        _ if acceptor == Acceptor::Sts && has_scheme() => "begins with 'Bearer '",
        _ => return None,
    };
    Some(format!("the token {form}: write the token alone, e.g. with printf %s"))
}

/// The digest of a token: the same for all JWTs with the same claims, and another for each other token.
pub(super) fn digest(token: &[u8], acceptor: Acceptor) -> String {
    let mut parts = KeyHasher::default();
    match claims(token) {
        Some(claims) => {
            parts.add("claims", "");
            let is_of_account = claims.text("sub").is_some_and(|sub| sub.starts_with(SERVICE_ACCOUNT));
            let of_account = claims.0.get(KUBERNETES).and_then(|of| serde_json::from_str::<Claims>(of.get()).ok());
            for (name, value) in claims.of_holder() {
                match name {
                    KUBERNETES if of_account.is_some() => {}
                    // One audience may be a text or a list.
                    "aud" if value.starts_with('"') => parts.add(name, format!("[{value}]")),
                    _ => parts.add(name, value),
                }
            }
            if let Some(of_account) = &of_account {
                parts.add(KUBERNETES, "");
                let is_unseen = |name: &str| acceptor == Acceptor::Sts && is_of_account && BOUND_TO.contains(&name);
                for (name, value) in of_account.of_holder().filter(|(name, _)| !is_unseen(name)) {
                    parts.add(name, value);
                }
            }
        }
        None => parts.add("token", token),
    }
    parts.into_key().to_string()
}

/// The issuer and the subject that a JWT claims.
pub fn issuer_and_subject(token: &[u8]) -> Option<(String, String)> {
    let claims = claims(token)?;
    Some((claims.text("iss")?, claims.text("sub")?))
}

/// The claims of a JWT with an issuer and a subject.
fn claims(token: &[u8]) -> Option<Claims> {
    let mut parts = std::str::from_utf8(token).ok()?.trim().split('.');
    let (_header, payload, _signature, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&bytes).ok()?;
    ["iss", "sub"].iter().all(|name| claims.text(name).is_some()).then_some(claims)
}

/// The members of an object in which no name is there twice, with their values as they are written: two numbers that are read
/// as the same float are two claims.
struct Claims(BTreeMap<String, Box<RawValue>>);

impl Claims {
    fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    /// Those that say who holds the token, by name.
    fn of_holder(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.0.iter().map(|(name, value)| (name.as_str(), value.get()));
        all.filter(|(name, _)| !OF_ISSUE.contains(name))
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object in which no name is there twice")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Claims, A::Error> {
        let mut claims = BTreeMap::new();
        while let Some((name, value)) = members.next_entry()? {
            if claims.insert(name, value).is_some() {
                return Err(de::Error::custom("a name is there twice"));
            }
        }
        Ok(Claims(claims))
    }
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
        let signed_anew = jwt(r#","a":[null,true,-1,1.5,{"b":"c"}]"#);
        let digests =
            [&signed_anew, &signed_anew.replace(".c2ln", ".dHdv")].map(|jwt| digest(jwt.as_bytes(), Acceptor::Sts));
        assert_eq!(digests[0], digests[1]);
        let mut all = vec![plain];
        for other in [
            "",
            r#","aud":"b""#,
            r#","aud":["a","b"]"#,
            r#","aud":"a","amr":["x"]"#,
            r#","aud":"a","https://aws.amazon.com/tags":{"principal_tags":{"team":["x"]}}"#,
            r#","aud":"a","https://aws.amazon.com/tags":{"principal_tags":{"team":["y"]}}"#,
            // No float tells these apart.
            r#","aud":"a","number":100000000000000000001"#,
            r#","aud":"a","number":100000000000000000002"#,
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
        let of_account = |claims: &str| {
            let payload = format!(r#"{{"iss":"i","sub":"system:serviceaccount:n:s"{claims}}}"#);
            digest(format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(payload)).as_bytes(), Acceptor::Sts)
        };
        assert_eq!(of_account(&of_pod), of_account(&of_other));
        assert_ne!(of_account(&of_pod), of_account(&of_pod.replace(r#""uid":"u""#, r#""uid":"v""#)));
        assert_ne!(sts(&of_pod), sts(&of_other), "another subject is none of a service account");
        let container = |claims: &str| digest(jwt(claims).as_bytes(), Acceptor::Container);
        assert_ne!(container(&of_pod), container(&of_other));
        assert_eq!(container(&of_pod), container(&of_pod.replace(r#""warnafter":1"#, r#""warnafter":2"#)));
    }

    #[test]
    fn a_token_that_is_no_jwt_counts_whole() {
        let twice = |claims: &str| jwt(claims).replace(".c2ln", ".dHdv");
        for [one, other] in [
            ["a", "b"],
            ["a.b.c", "a.b.d"],
            [&jwt(""), &(jwt("") + ".x")],
            [&jwt(r#","sub":"s""#), &twice(r#","sub":"s""#)],
            [&jwt(r#","a":[{"b":1,"b":2}]"#), &jwt(r#","a":[{"b":2}]"#)],
        ] {
            assert_ne!(digest(one.as_bytes(), Acceptor::Sts), digest(other.as_bytes(), Acceptor::Sts), "{one}");
        }
    }
}
