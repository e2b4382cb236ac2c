//! What identities come from: JSON web tokens, the sign-ins of the AWS CLI, and the fixed addresses of instances and containers.

use std::rc::Rc;

use crate::helper::{Helper, lacks_unix};
use crate::namespace::{Namespace, skip};
use crate::support::aws::Aws;

/// A JSON web token whose signature nobody checks.
pub fn jwt(subject: &str, nonce: u32) -> String {
    jwt_by("https://oidc.example", subject, nonce)
}

/// The same from another issuer.
pub fn jwt_by(issuer: &str, subject: &str, nonce: u32) -> String {
    jwt_of(&format!(r#"{{"iss":"{issuer}","sub":"{subject}","iat":{nonce}}}"#))
}

/// One with these claims.
pub fn jwt_of(claims: &str) -> String {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as CODE;
    format!("{}.{}.{}", CODE.encode("{}"), CODE.encode(claims), CODE.encode("signature"))
}

pub const SSO: &str = "sso_account_id = 111122223333\nsso_role_name = Developer\n";

/// Writes a sign-in as the AWS CLI does; the name of the file is the SHA-1 of `of`.
pub fn sign_in(helper: &Helper, of: &str, expires_at: &str) -> std::path::PathBuf {
    use sha1::{Digest, Sha1};
    let content = format!(
        r#"{{"startUrl":"https://corp.example/start","region":"eu-west-1","accessToken":"sso-access","expiresAt":"{expires_at}",
        "clientId":"client","clientSecret":"sso-secret","registrationExpiresAt":"2099-01-01T00:00:00Z","refreshToken":"sso-refresh"}}"#
    );
    helper.write(&format!(".aws/sso/cache/{:x}.json", Sha1::digest(of)), &content)
}

/// The principal of an `aws login` session.
pub const LOGIN: &str = "arn:aws:iam::111122223333:user/Somebody";

/// Writes an `aws login` session as the AWS CLI does.
pub fn log_in(helper: &Helper, access_key: &str, expires_at: &str) -> std::path::PathBuf {
    use serde_json::json;
    use sha2::{Digest, Sha256};
    let keys = json!({"accessKeyId": access_key, "secretAccessKey": "s", "sessionToken": "t",
        "accountId": "111122223333", "expiresAt": expires_at});
    let session = json!({"accessToken": keys, "tokenType": "aws_sigv4", "refreshToken": "r", "idToken": "i",
        "clientId": "c", "dpopKey": KEY});
    helper.write(&format!(".aws/login/cache/{:x}.json", Sha256::digest(LOGIN)), &session.to_string())
}

/// A key that signs nothing else.
const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\n\
    MHcCAQEEIL+/UqGmsXwyy8M3jJXMWFyolsmbt7BDq6GTEdFM1fLNoAoGCCqGSM49\n\
    AwEHoUQDQgAEDu1zk3RoyhGwvhw4yRGXOMLHI+OgujyTBvrPyaOXL5kFRiDVK/Z7\n\
    wN1S/vKlDaLKp7rcBJXF2TCfqe5j4bePhA==\n-----END EC PRIVATE KEY-----\n";

/// A network with the fixed addresses of ECS, EKS and EC2; `aws` answers on all of them.
pub fn metadata_network(aws: &Aws, test: &str) -> Option<Rc<Namespace>> {
    if lacks_unix(test) {
        return None;
    }
    if !nix::unistd::geteuid().is_root() {
        skip(test, "network namespaces need root");
        return None;
    }
    let addresses = ["169.254.169.254", "169.254.170.2", "169.254.170.23"];
    let setup = addresses.map(|address| format!("ip address add {address}/32 dev lo\n"));
    let namespace = Namespace::of_network(&setup.concat());
    for address in addresses {
        crate::support::serve(namespace.listen(&format!("{address}:80")), aws.app());
    }
    crate::support::serve(namespace.listen("127.0.0.1:8000"), aws.app());
    Some(Rc::new(namespace))
}

pub const INSIDE: &str = "http://127.0.0.1:8000";
