//! Requests `/v2/` or a manifest from the registry, to check whether it accepts the token and whether the image can be
//! pulled.

use std::time::{Duration, Instant};

use http::StatusCode;

use super::Checker;
use super::access::Access;
use super::check::{Check, Name};
use super::report::RegistryReport;
use crate::aws::RegistryAnswer;
use crate::code::Code;
use crate::config::Target;
use crate::error::Failure;
use crate::platform::command;

/// The time limit for the registry's response.
const LIMIT: Duration = Duration::from_secs(4);

/// Asks for `/v2/` (OCI distribution specification, "Determining support"), or for the manifest of the image.
pub(super) fn check(checker: Checker, access: &Access, report: &RegistryReport) -> Check {
    let (host, deadline) = (&report.host, checker.until(LIMIT));
    match &report.image {
        None => Check::of(Name::Registry, check_registry(access, host, deadline)),
        Some(image) => Check::of(Name::Image, check_image(access, host, parse(image), deadline)),
    }
}

fn check_registry(access: &Access, host: &str, deadline: Instant) -> Result<String, Failure> {
    let url = format!("https://{host}/v2/");
    match access.ask(host, "/v2/", deadline)? {
        answer if answer.status != StatusCode::OK => Err(refused(&url, &answer, access)),
        _ if access.has_token() => Ok(format!("{url} accepts the token")),
        _ => Ok(format!("{url} answers anonymous requests")),
    }
}

/// Why a request was refused, whatever it was for.
fn refused(url: &str, answer: &RegistryAnswer, access: &Access) -> Failure {
    let (status, said) = (answer.status, quote(answer));
    match status {
        _ if is_about_expiry(answer) => {
            let what = format!("{url} takes the token for expired: {status}{said}");
            let fix = "try again; if the error persists, check the clock of what answers for the registry";
            Failure::new(Code::RegistryDenied, what, fix)
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let what = if access.has_token() { "the token" } else { "anonymous requests" };
            denied(Code::RegistryDenied, format!("{url} rejects {what}: {status}{said}"), answer)
        }
        StatusCode::TOO_MANY_REQUESTS => {
            Failure::new(Code::Throttled, format!("{url} limits the rate of requests{said}"), "try again later")
        }
        _ if status.is_server_error() => {
            let fix = "try again later; see health.aws.amazon.com, and check a proxy in front of the registry";
            Failure::new(Code::ServiceError, format!("{url} answers {status}{said}"), fix)
        }
        _ => Failure::usual(Code::RegistryAnswer, format!("{url} answers {status}{said}")),
    }
}

/// A denial, whose fix is the usual one unless the registry names a policy beside the principal's and the repository's.
fn denied(code: Code, what: String, answer: &RegistryAnswer) -> Failure {
    match &answer.policy_fix {
        Some(fix) => Failure::new(code, what, fix),
        None => Failure::usual(code, what),
    }
}

/// Whether the registry refuses the token as an old one, which ECR calls a denial too.
fn is_about_expiry(answer: &RegistryAnswer) -> bool {
    let is_refusal = matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    is_refusal && answer.message.to_ascii_lowercase().contains("token has expired")
}

fn check_image(
    access: &Access,
    host: &str,
    (repository, tag): (&str, &str),
    deadline: Instant,
) -> Result<String, Failure> {
    if !(is_repository(repository) && is_tag(tag)) {
        let what = format!("{host}/{repository}:{tag} is not the name of an image");
        let fix =
            "write it as HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:DIGEST; a repository's name is in lower case";
        return Err(Failure::new(Code::RepositoryMissing, what, fix));
    }
    let answer = access.ask(host, &format!("/v2/{repository}/manifests/{tag}"), deadline)?;
    match answer.status {
        StatusCode::OK => Ok(format!("{repository}:{tag} can be pulled")),
        _ => Err(image_refused(access, host, &answer, repository, tag)),
    }
}

/// What the registry says about an error, after what happened.
fn quote(answer: &RegistryAnswer) -> String {
    if answer.message.is_empty() { String::new() } else { format!(": {}", answer.message) }
}

/// The repository in `REPOSITORY[:TAG][@DIGEST]`, and the digest or else the tag; the default is `latest`, as in docker.
fn parse(image: &str) -> (&str, &str) {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
    (repository, digest.unwrap_or(tag))
}

/// Whether a name can be that of a repository (OCI distribution specification, "Pulling manifests").
fn is_repository(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let is_part = |part: &str| {
        part.chars().all(allowed)
            && part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    name.split('/').all(is_part)
}

/// Whether a text can be a tag, or a digest (the same).
fn is_tag(text: &str) -> bool {
    if let Some(digest) = text.strip_prefix("sha256:") {
        return digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=128).contains(&text.len()) && text.chars().all(allowed) && !text.starts_with(['.', '-'])
}

/// A command of the AWS CLI about a repository of the same registry, with the same profile.
fn ecr_command(words: &str, target: &Target, repository: &str) -> String {
    let account = target.registry.account().map_or_else(String::new, |account| format!(" --registry-id {account}"));
    let profile = target.caller.profile().map(|profile| profile.name.as_str());
    let option = profile.map_or("", |_| " --profile {}");
    let region = target.registry.region();
    let template = format!("aws ecr {words} --repository-name {{}}{account} --region {{}}{option}");
    let outside: Vec<&str> = [repository, &region].into_iter().chain(profile).collect();
    command(&template, &outside).unwrap_or_else(|| format!("aws ecr {words}"))
}

/// Why the image cannot be pulled.
fn image_refused(access: &Access, host: &str, answer: &RegistryAnswer, repository: &str, tag: &str) -> Failure {
    let (target, said) = (access.target(), quote(answer));
    let is_of_pull_through = {
        let message = answer.message.to_ascii_lowercase();
        let words = ["ecr:createrepository", "ecr:batchimportupstreamimage", "pull through", "pull-through"];
        words.iter().any(|word| message.contains(word))
    };
    match (answer.code.as_str(), answer.status) {
        ("NAME_UNKNOWN", _) if target.registry.is_public() => {
            let what = format!("ECR Public has no repository {repository}{said}");
            Failure::new(Code::RepositoryMissing, what, "look the name up in https://gallery.ecr.aws")
        }
        _ if is_of_pull_through => {
            let what = format!("this principal may not import {repository}:{tag} through the pull-through cache{said}");
            denied(Code::PullThroughDenied, what, answer)
        }
        ("NAME_UNKNOWN", _) => {
            let create = ecr_command("create-repository", target, repository);
            let allow = "for a pull-through cache allow ecr:CreateRepository and ecr:BatchImportUpstreamImage";
            let fix = format!("correct the name or the region, or create it: {create}; {allow}");
            Failure::new(Code::RepositoryMissing, format!("the registry has no repository {repository}{said}"), fix)
        }
        ("MANIFEST_UNKNOWN" | "TAG_INVALID", _) => {
            let fix = format!("correct the tag; {} lists the tags", ecr_command("list-images", target, repository));
            Failure::new(Code::TagMissing, format!("the repository {repository} has no image {tag}{said}"), fix)
        }
        (_, StatusCode::FORBIDDEN) | ("DENIED", _) if !is_about_expiry(answer) && !answer.status.is_server_error() => {
            denied(Code::ImageDenied, format!("the registry denies access to {repository}{said}"), answer)
        }
        (_, StatusCode::NOT_FOUND) => {
            let what = format!("{host} has no {repository}:{tag}{said}");
            Failure::new(Code::TagMissing, what, "correct the name of the repository and the tag")
        }
        _ => refused(&format!("https://{host}/v2/{repository}/manifests/{tag}"), answer, access),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_repository, is_tag, parse};

    #[test]
    fn an_image_has_a_tag_or_a_digest_and_latest_without_either() {
        for (image, repository, tag) in [
            ("app", "app", "latest"),
            ("team/app:1.2", "team/app", "1.2"),
            ("app@sha256:00", "app", "sha256:00"),
            ("app:1@sha256:00", "app", "sha256:00"),
        ] {
            assert_eq!(parse(image), (repository, tag), "{image}");
        }
    }

    #[test]
    fn names_that_no_registry_accepts_are_not_requested() {
        for (name, is_valid) in [("team/app_1", true), ("../app", false), ("App", false), ("a//b", false), ("", false)]
        {
            assert_eq!(is_repository(name), is_valid, "{name}");
        }
        let digest = format!("sha256:{}", "0".repeat(64));
        for (tag, is_valid) in
            [("1.2", true), (digest.as_str(), true), ("sha256:00", false), ("-1", false), ("", false)]
        {
            assert_eq!(is_tag(tag), is_valid, "{tag}");
        }
    }
}
