//! The formats of `export`, and the rules of Kubernetes for the names in a secret.
//!
//! - `docker-config` is a docker `config.json` with a password for each registry.
//! - `kubernetes-secret` is a manifest in YAML that contains the same. Every value is a JSON string, which is valid YAML. An
//!   annotation holds the time at which the first password expires.
//! - `argocd-repository` is a manifest with a Secret for each registry, with the label and the fields by which Argo CD takes it for
//!   a Helm registry (Argo CD, "Declarative Setup", "Helm Chart Repositories").
//! - `env` is for `eval` and `.` of a POSIX shell: quoted values, exported to the commands that follow.
//! - `dotenv` is for programs that take the rest of a line literally, quotes included: `docker run --env-file`, GitHub's
//!   `$GITHUB_ENV`, systemd's `EnvironmentFile`. AWS issues no value that requires quotes there; a value that spans lines
//!   cannot be written, and is an error.
//!
//! - `user-password` is `AWS:` and the password of one registry, for `skopeo --creds` and `curl --user`.
//!
//! A GitHub job prints the variables that it has in the log of each later step, and manifests and pairs that go to standard output in
//! that of this one, so the helper has the runner mask the passwords: runners take such a command from standard error too. A
//! `config.json` is a file for programs, which none of them prints.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, ValueEnum};
use serde_json::json;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::NAME;
use crate::code::Code;
use crate::config::Target;
use crate::display_time::rfc3339;
use crate::error::Error;
use crate::registry::Host;
use crate::secret::Secret;
use crate::token::Token;
use crate::token_provider::IssuedToken;

/// The format that `export` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A docker config.json that contains the passwords, for kaniko and other builders
    DockerConfig,
    /// A secret of type kubernetes.io/dockerconfigjson as YAML, for kubectl apply --server-side -f -
    KubernetesSecret,
    /// A secret for each registry, with which Argo CD pulls Helm charts, as YAML for kubectl apply --server-side -f -
    ArgocdRepository,
    /// Lines for eval in a shell, with export: DOCKER_AUTH_CONFIG, and for a single registry ECR_REGISTRY, ECR_USERNAME and
    /// ECR_PASSWORD
    Env,
    /// The same variables as bare NAME=value lines, for env files of docker, GitHub Actions and systemd
    Dotenv,
    /// AWS:PASSWORD of a single registry, for options of skopeo and curl that take both
    UserPassword,
}

/// The password of one registry.
pub(super) struct Password {
    host: Host,
    token: Token,
    /// By the clock of this machine; `None` when AWS named no time.
    expires_at: Option<OffsetDateTime>,
}

impl Password {
    pub(super) fn new(target: &Target, issued: IssuedToken) -> Self {
        Self { host: target.host.clone(), expires_at: issued.expires_at(), token: issued.token }
    }
}

/// The names in a Kubernetes secret. Those of [`Format::ArgocdRepository`] end in the registry's host.
#[derive(Args, Debug)]
pub(super) struct SecretName {
    /// Name of the Kubernetes secret [default: ecr-login]; Argo CD's have the registry's host after it
    #[arg(long, value_parser = secret_name)]
    pub(super) name: Option<String>,
    /// Namespace of the Kubernetes secret [default: that of kubectl]
    #[arg(long, value_parser = namespace)]
    pub(super) namespace: Option<String>,
}

impl Format {
    /// Returns whether this is a manifest of Kubernetes, in which secrets have names.
    pub(super) fn is_manifest(self) -> bool {
        matches!(self, Self::KubernetesSecret | Self::ArgocdRepository)
    }

    /// Returns whether the passwords become variables.
    pub(super) fn is_variables(self) -> bool {
        matches!(self, Self::Env | Self::Dotenv)
    }

    /// Returns the commands that make a runner of GitHub Actions mask the passwords in the log: by themselves, in a `config.json`, and
    /// as a manifest holds them.
    pub(super) fn mask_commands(self, passwords: &[Password]) -> Zeroizing<String> {
        let mut commands = Zeroizing::new(String::new());
        for Password { token, .. } in passwords {
            commands.push_str(&mask_commands(token));
            if self == Self::ArgocdRepository {
                mask(&base64(token.password.expose()), &mut commands);
            }
        }
        if self == Self::KubernetesSecret {
            mask(&base64(&docker_config(passwords)), &mut commands);
        }
        commands
    }

    /// Renders `passwords`, without a newline at the end.
    pub(super) fn render(self, passwords: &[Password], secret: &SecretName) -> Result<Zeroizing<String>, Error> {
        Ok(match self {
            Self::DockerConfig => docker_config(passwords),
            Self::KubernetesSecret => kubernetes_secret(passwords, secret),
            Self::ArgocdRepository => {
                joined(passwords.iter().map(|password| argocd_repository(password, secret)), "\n---\n")
            }
            Self::Env => {
                lines(passwords, |name, value| Ok(format!("export {name}='{}'", value.replace('\'', "'\\''"))))?
            }
            Self::Dotenv => lines(passwords, |name, value| {
                if value.contains(|c: char| c.is_control()) {
                    let what = format!("the value of {name} has control characters, which dotenv files cannot contain");
                    return Err(Error::failed(Code::WriteFailed, what, "use --format env"));
                }
                Ok(format!("{name}={value}"))
            })?,
            Self::UserPassword => joined(passwords.iter().map(|password| password.token.pair()), "\n"),
        })
    }
}

fn base64(text: &str) -> Zeroizing<String> {
    Zeroizing::new(BASE64_STANDARD.encode(text))
}

fn joined(parts: impl Iterator<Item = Zeroizing<String>>, separator: &str) -> Zeroizing<String> {
    let parts: Vec<Zeroizing<String>> = parts.collect();
    Zeroizing::new(parts.iter().map(|part| part.as_str()).collect::<Vec<_>>().join(separator))
}

/// Returns the commands that mask the password of a token, by itself and in a `config.json`.
pub(super) fn mask_commands(token: &Token) -> Zeroizing<String> {
    let mut commands = Zeroizing::new(String::new());
    mask(token.password.expose(), &mut commands);
    mask(&token.encode(), &mut commands);
    commands
}

/// Adds the commands that make a runner of GitHub Actions mask a secret in the log.
fn mask(secret: &str, commands: &mut Zeroizing<String>) {
    // What spans lines would be cut, and no variable holds it.
    for line in secret.lines() {
        commands.push_str("::add-mask::");
        // A runner decodes it.
        commands.push_str(&Zeroizing::new(line.replace('%', "%25")));
        commands.push('\n');
    }
}

/// Returns the time at which the first of the passwords expires.
pub(super) fn earliest_expiry(passwords: &[Password]) -> Option<OffsetDateTime> {
    passwords.iter().filter_map(|password| password.expires_at).min()
}

fn docker_config(passwords: &[Password]) -> Zeroizing<String> {
    #[derive(serde::Serialize)]
    struct Auth {
        auth: Secret,
    }
    let auth = |password: &Password| Auth { auth: password.token.encode().to_string().into() };
    let auths: std::collections::BTreeMap<&str, Auth> =
        passwords.iter().map(|password| (&*password.host, auth(password))).collect();
    let config = std::collections::BTreeMap::from([("auths", auths)]);
    Zeroizing::new(serde_json::to_string(&config).expect("strings always serialise"))
}

fn kubernetes_secret(passwords: &[Password], secret: &SecretName) -> Zeroizing<String> {
    let metadata = secret.metadata("", "", earliest_expiry(passwords));
    let data = base64(&docker_config(passwords));
    Zeroizing::new(format!(
        "{metadata}type: kubernetes.io/dockerconfigjson\ndata:\n  .dockerconfigjson: \"{}\"",
        data.as_str()
    ))
}

fn argocd_repository(Password { host, token, expires_at }: &Password, secret: &SecretName) -> Zeroizing<String> {
    // A custom domain may have a port.
    let suffix = format!("-{}", host.replace(':', "-"));
    let label = "    argocd.argoproj.io/secret-type: repository\n";
    let mut text = Zeroizing::new(secret.metadata(&suffix, label, *expires_at));
    text.push_str("type: Opaque\ndata:");
    for (field, value) in [
        ("name", &**host),
        ("type", "helm"),
        ("enableOCI", "true"),
        ("url", host),
        ("username", &token.username),
        ("password", token.password.expose()),
    ] {
        let value = base64(value);
        text.push_str(&Zeroizing::new(format!("\n  {field}: \"{}\"", value.as_str())));
    }
    text
}

impl SecretName {
    /// Renders the lines of a secret that are not secret.
    fn metadata(&self, suffix: &str, label: &str, expiry: Option<OffsetDateTime>) -> String {
        let name = json!(format!("{}{suffix}", self.name.as_deref().unwrap_or("ecr-login")));
        let namespace = self.namespace.iter().map(|namespace| format!("  namespace: {}\n", json!(namespace)));
        let annotations =
            expiry.iter().map(|expiry| format!("  annotations:\n    {NAME}/expires-at: {}\n", json!(rfc3339(*expiry))));
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n{}  labels:\n    \
             app.kubernetes.io/managed-by: {}\n{label}{}",
            namespace.collect::<String>(),
            json!(NAME),
            annotations.collect::<String>()
        )
    }
}

/// Renders the variables, each by `line`.
fn lines(
    passwords: &[Password],
    line: impl Fn(&str, &str) -> Result<String, Error>,
) -> Result<Zeroizing<String>, Error> {
    let mut lines = Zeroizing::new(line("DOCKER_AUTH_CONFIG", &docker_config(passwords))?);
    if let [Password { host, token, .. }] = passwords {
        for (name, value) in
            [("ECR_REGISTRY", &**host), ("ECR_USERNAME", &token.username), ("ECR_PASSWORD", token.password.expose())]
        {
            lines.push('\n');
            lines.push_str(&Zeroizing::new(line(name, value)?));
        }
    }
    Ok(lines)
}

/// Parses the name of a secret: a DNS subdomain (Kubernetes, "Object Names and IDs").
pub(super) fn secret_name(name: &str) -> Result<String, &'static str> {
    let is_subdomain = name.len() <= 253 && name.split('.').all(is_label);
    is_subdomain.then(|| name.to_owned()).ok_or(
        "Kubernetes accepts up to 253 small letters, digits, '-' and '.', each part with a letter or digit at both ends",
    )
}

/// Parses a namespace: a DNS label (Kubernetes, "Namespaces").
pub(super) fn namespace(name: &str) -> Result<String, &'static str> {
    (name.len() <= 63 && is_label(name))
        .then(|| name.to_owned())
        .ok_or("Kubernetes accepts up to 63 small letters, digits and '-', with a letter or digit at both ends")
}

fn is_label(label: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    label.bytes().all(|byte| is_alphanumeric(byte) || byte == b'-')
        && label.bytes().next().is_some_and(is_alphanumeric)
        && label.bytes().next_back().is_some_and(is_alphanumeric)
}
