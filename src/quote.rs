//! Masks what may be a secret in the text of services, programs and settings, before a line or the log quotes it.

use std::ops::RangeInclusive;
use std::path::Path;

use crate::text::{beginning, words};

/// The longest quote, in characters.
pub const LONGEST_QUOTE: usize = 400;

/// A word of this length or more that mixes letters and digits may be a key or a token.
const SHORTEST_SECRET: usize = 5;

/// The longest name of a role or a session (IAM and AWS STS quotas), and of most files.
const LONGEST_NAME: usize = 64;

/// The length of a secret access key of AWS.
const SECRET_KEY: usize = 40;

/// The shortest part of a token without an underscore in it, and how often letters and digits change there at least.
const SHORTEST_TOKEN: usize = 16;
const FEWEST_CHANGES: usize = 4;

/// A word of a message has fewer encoded bytes (`%41`), of which a secret may consist.
const FEWEST_ENCODED: usize = 4;

/// A session token of AWS is longer, and no word of a text is so long.
const SHORTEST_SESSION_TOKEN: usize = 100;

/// How often letters of both cases, digits and marks take turns in a secret key, at least: 25 times on average. In words of a name they
/// do so less often.
const FEWEST_KINDS: usize = 12;

/// How a JWT begins (`{"` in base64), and the length of its shortest header.
const JWT: &str = "eyJ";
const SHORTEST_HEADER: usize = 12;

/// The lengths of the id of an access key, in examples too. Those of IAM have 16 characters or more (AWS IAM API reference, `AccessKey`).
const ID_LENGTHS: RangeInclusive<usize> = 8..=128;

/// How the id of an access key begins (IAM User Guide, "IAM identifiers"), in examples of AWS too, and two of LocalStack's.
const ID_PREFIXES: [&str; 7] = ["AKIA", "ASIA", "ABIA", "ACCA", "AKID", "LKIA", "LSIA"];

/// The id that manuals of emulators give.
const ID_OF_EMULATORS: &str = "test";

/// The id of an access key; `None` for what has not the form of one, and may be the secret key, by an exchange. Those of AWS have
/// upper-case letters and digits.
pub fn access_key_id(id: &str) -> Option<&str> {
    let is_of_aws = ID_PREFIXES.iter().any(|prefix| id.starts_with(prefix))
        && ID_LENGTHS.contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    (is_of_aws || id == ID_OF_EMULATORS).then_some(id)
}

/// The text of another program in one line, cut short, with an ellipsis for each word that may be a secret: a word after
/// "password=" and the like, and a word of letters and digits that is neither a path, part of an ARN nor the id of a request, by
/// which the support of AWS finds it.
pub fn without_secrets(text: &str) -> String {
    let (mut quote, mut is_announced) = (String::new(), false);
    for word in words(text) {
        quote.extend((!quote.is_empty()).then_some(' '));
        quote.push_str(&match is_announced {
            true => "…".to_owned(),
            false if is_request_id(&quote, word) => word.to_owned(),
            false => mask(word),
        });
        // An answer of a megabyte may have half a million words.
        if quote.len() > LONGEST_QUOTE * 4 {
            break;
        }
        let lower = word.to_ascii_lowercase();
        is_announced = SECRETS.iter().any(|name| {
            lower.trim_end_matches([':', '=', '"', '\'']).ends_with(name)
                && (lower.ends_with([':', '=']) || lower.starts_with('-') || *name == "bearer" || *name == "basic")
        });
    }
    beginning(&quote, LONGEST_QUOTE).into_owned()
}

/// Names that come before a secret.
const SECRETS: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "pass",
    "passphrase",
    "secret",
    "token",
    "bearer",
    "basic",
    "key",
    "credential",
    "authorization",
    "signature",
];

/// Whether a word is the id of a request, as errors of AWS give it.
fn is_request_id(before: &str, word: &str) -> bool {
    let is_announced = ["RequestId: ", "Request ID: ", "RequestID: "].iter().any(|name| before.ends_with(name));
    let id = word.trim_end_matches([';', ',', ')', '.']);
    let is_uuid = id.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    is_announced && is_uuid && id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn mask(word: &str) -> String {
    let bare = word.trim_matches(|c: char| "\"'()[]{},.;:".contains(c));
    if bare.starts_with(['/', '~']) && !bare.contains('=') {
        return word.split_inclusive('/').map(mask_long).collect();
    }
    if let Some((scheme, rest)) = word.split_once("://") {
        // Presigned URLs have tokens in the query, services of companies also in the path.
        let (place, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        let (authority, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        let path: String = path.split_inclusive('/').map(mask_segment).collect();
        let hidden = query.chars().next().map(|mark| format!("{mark}…")).unwrap_or_default();
        return mask_user_info(&format!("{scheme}://{authority}{path}{hidden}"));
    }
    if word.matches('%').count() >= FEWEST_ENCODED {
        return "…".to_owned();
    }
    word.split_inclusive([',', '&', ';']).map(mask_part).collect()
}

/// Masks a part of a path in a URL that may be a secret, or has encoded bytes as secrets in URLs do.
fn mask_segment(segment: &str) -> String {
    let (name, end) = segment.strip_suffix('/').map_or((segment, ""), |name| (name, "/"));
    let is_secret = name.contains('%') || name.split(['.', '~', ':', ',']).any(is_random);
    format!("{}{end}", if is_secret { "…" } else { name })
}

/// Masks a part of a path or an ARN that is longer than names are there.
fn mask_long(part: &str) -> String {
    let name = part.trim_end_matches('/');
    let is_long = name.len() > LONGEST_NAME && is_random(name);
    if is_long { part.replace(name, "…") } else { part.to_owned() }
}

/// The path of a file as a setting names it, where a token may stand in the place of the path.
pub fn path(path: &Path) -> String {
    let text = path.display().to_string();
    // With a scheme it is no path, and has no host.
    match text.split_once("://") {
        _ if path.is_absolute() => text.split_inclusive(['/', '\\']).map(mask_long).collect(),
        Some((scheme, rest)) => format!("{}://{}", without_secrets(scheme), self::path(Path::new(rest))),
        None => without_secrets(&text),
    }
}

/// The name of a variable as a setting gives it, where a token may stand in the place of the name. No part of a usual name is as long as
/// those of tokens and mixes letters and digits as often, or is as long as a secret key.
pub fn variable(name: &str) -> &str {
    let is_change = |pair: &&[u8]| pair[0].is_ascii_digit() != pair[1].is_ascii_digit();
    let changes = |part: &str| part.as_bytes().windows(2).filter(is_change).count();
    let is_mixed = |part: &str| part.len() >= SHORTEST_TOKEN && changes(part) >= FEWEST_CHANGES;
    let is_token = |part: &str| is_mixed(part) || (part.len() >= SECRET_KEY && is_random(part));
    if name.split('_').any(is_token) { "…" } else { name }
}

/// Whether a part of the value of a setting is longer than names are there, and so may be a token.
pub fn may_hold_token(value: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "+=_.-~".contains(c);
    value.split(|c| !is_part(c)).any(|part| part.len() > LONGEST_NAME && is_random(part))
}

/// Masks the tokens and keys in a text of the helper's own, which quotes settings, where one may stand by mistake: whatever has the form
/// of a JWT, and each word with that of a secret key, a token of GitHub or a session token. Paths, names, ARNs and hashes have none of these.
pub fn hide_tokens(text: &str) -> String {
    let ends_word = |c: char| c.is_whitespace() || "\"'`()[]{}<>,;=&".contains(c);
    let mut hidden = String::with_capacity(text.len());
    for part in text.split_inclusive(ends_word) {
        let word = part.trim_end_matches(|c| ends_word(c) || matches!(c, '.' | ':'));
        let (mut rest, end) = if is_key(word) { ("…", &part[word.len()..]) } else { (part, "") };
        while let Some(start) = rest.find(JWT) {
            let (before, found) = rest.split_at(start);
            let after = found.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
            let jwt = &found[..found.len() - after.len()];
            let is_whole = jwt.find('.').is_some_and(|end| end >= SHORTEST_HEADER);
            hidden.extend([before, if is_whole { "…" } else { jwt }]);
            rest = after;
        }
        hidden.extend([rest, end]);
    }
    hidden
}

/// Whether a word has the form of a secret key, of a token of GitHub, or of a session token.
fn is_key(word: &str) -> bool {
    if word.len() > SECRET_KEY && word.starts_with("github_pat_") {
        return true;
    }
    let has = |test: fn(&u8) -> bool| word.as_bytes().iter().any(test);
    let kind = |byte: u8| (byte.is_ascii_uppercase(), byte.is_ascii_lowercase(), byte.is_ascii_digit());
    let kinds = word.as_bytes().windows(2).filter(|pair| kind(pair[0]) != kind(pair[1])).count();
    let is_of_key = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'_');
    (word.len() == SECRET_KEY || word.len() >= SHORTEST_SESSION_TOKEN)
        && !word.starts_with('/')
        && word.bytes().all(is_of_key)
        && kinds >= FEWEST_KINDS
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit)
        && (!word.contains('_') || (word.starts_with("gh") && word.find('_') == Some(3)))
}

/// Masks one setting, or one word.
fn mask_part(word: &str) -> String {
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        SECRETS.iter().any(|secret| name.ends_with(secret))
    };
    if let Some((name, value)) = word.split_once(['=', ':'])
        && is_secret(name)
        && !value.is_empty()
    {
        // A secret of two parts may look like a setting.
        return format!("{}=…", if is_random(name) { "…" } else { name });
    }
    if let Some((name, _)) = word.split_once('-')
        && name.eq_ignore_ascii_case("bearer")
    {
        return format!("{name}-…");
    }
    if let Some((before, arn)) = word.find("arn:aws").map(|start| word.split_at(start)) {
        let (arn, after) =
            arn.split_at(arn.find(['"', '\'', '(', ')', '[', ']', '{', '}', '<', '>']).unwrap_or(arn.len()));
        let arn: String = arn.split_inclusive('/').map(mask_long).collect();
        return format!("{}{arn}{}", mask_part(before), mask_part(after));
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || "+/=_.-~".contains(c);
    let mut masked = String::new();
    for part in word.split_inclusive(|c| !is_part(c)) {
        let (piece, end) = match part.chars().next_back() {
            Some(c) if !is_part(c) => part.split_at(part.len() - c.len_utf8()),
            _ => (part, ""),
        };
        masked.push_str(if is_random(piece) { "…" } else { piece });
        masked.push_str(end);
    }
    masked
}

/// Whether letters and digits are mixed as in a key or token, or it is as long as a secret key, which may have no digit. Names of
/// hosts, regions and files have lower-case letters, a dot or a hyphen, and few digits.
fn is_random(piece: &str) -> bool {
    let has = |test: fn(&u8) -> bool| piece.as_bytes().iter().any(test);
    let digits = piece.bytes().filter(u8::is_ascii_digit).count();
    let is_name = !has(u8::is_ascii_uppercase) && piece.contains(['.', '-']) && digits <= 4;
    let is_long = piece.len() >= SECRET_KEY && !piece.contains(['.', '-', '_']);
    piece.len() >= SHORTEST_SECRET && has(u8::is_ascii_alphabetic) && (is_long || (digits > 0 && !is_name))
}

/// Masks the user and password of a URL, or of the URL in a text.
pub fn mask_user_info(url: &str) -> String {
    let masked = || {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let (_, host) = authority.rsplit_once('@')?;
        Some(format!("{scheme}://…@{host}{}", &rest[authority.len()..]))
    };
    masked().unwrap_or_else(|| url.to_owned())
}

/// Scheme, host and port of a URL. Its user, path and query may be secret; "/…" stands for the latter two.
pub fn without_path(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "…".to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if rest[end..].contains('@') {
        // What comes before may be a user and the beginning of a password.
        return format!("{scheme}://…");
    }
    let hidden = if rest[end..].trim_end_matches('/').is_empty() { "" } else { "/…" };
    mask_user_info(&format!("{scheme}://{}{hidden}", &rest[..end]))
}

#[cfg(test)]
mod tests {
    use super::{hide_tokens, mask_user_info, without_secrets};

    #[test]
    fn tokens_and_keys_are_hidden_and_names_are_not() {
        let pat = format!("github_pat_{}_{}", "11ABcd22EFgh33IJkl44MN", "aB1".repeat(19));
        for secret in ["ghp_16C7e42F292c6912E7710c838347Ae178B4a", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", &pat] {
            assert_eq!(hide_tokens(&format!("the profile '{secret}' is missing.")), "the profile '…' is missing.");
        }
        for name in ["AWSReservedSSO_ReadOnly_1a2b3c4d5e6f7a8b", "111122223333/PlatformAdministratorAccess"] {
            let text = format!("run 'aws sso login --profile {name}'");
            assert_eq!(hide_tokens(&text), text);
        }
    }

    #[test]
    fn quotes_hold_no_word_that_may_be_a_secret() {
        let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkIn0.c2lnbmF0dXJlMDEy";
        for (text, expected) in [
            (
                format!("Value '{jwt}' at 'webIdentityToken' failed"),
                "Value '…' at 'webIdentityToken' failed".to_owned(),
            ),
            (format!("error: Bearer {jwt}"), "error: Bearer …".to_owned()),
            ("Authorization: Bearer short".to_owned(), "Authorization: … …".to_owned()),
            (
                r#"{"error":"x","access_token":"abcdefghij"} bearer-SECRET hunter2"#.to_owned(),
                r#"{"error":"x","access_token"=… bearer-… …"#.to_owned(),
            ),
            ("password=hunter2 token: abc".to_owned(), "password=… token: …".to_owned()),
            (
                "--password hunter2 for hvs.Abc4567 in eu-west-1".to_owned(),
                "--password … for … in eu-west-1".to_owned(),
            ),
            ("key wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY, too".to_owned(), "key …, too".to_owned()),
            ("at http://me:pass@proxy:3128/x".to_owned(), "at http://…@proxy:3128/x".to_owned()),
            (
                "POST https://api.ecr.eu-west-1.amazonaws.com/?X-Amz-Security-Token=IQoJb3Jp%2Fabc failed".to_owned(),
                "POST https://api.ecr.eu-west-1.amazonaws.com/?… failed".to_owned(),
            ),
            (format!("see http://a.example/v1/{jwt}/x#{jwt}"), "see http://a.example/v1/…/x#…".to_owned()),
            ("not %68%75%6e%74%65%72, 50% of 5%".to_owned(), "not … 50% of 5%".to_owned()),
            ("at https://a.example/role/wJalr%2FK7MDENG".to_owned(), "at https://a.example/role/…".to_owned()),
            (
                "see https://docs.aws.amazon.com/AmazonECR/latest/userguide/common-errors.html".to_owned(),
                "see https://docs.aws.amazon.com/AmazonECR/latest/userguide/common-errors.html".to_owned(),
            ),
            (
                "User: arn:aws:sts::111122223333:assumed-role/TeamA/i-0123456789abcdef0 is not authorized".to_owned(),
                "User: arn:aws:sts::111122223333:assumed-role/TeamA/i-0123456789abcdef0 is not authorized".to_owned(),
            ),
            (
                "arn:aws:iam::111122223333:role/R'hunter2x {\"r\":\"arn:aws:ecr:x:1:a/b2\",\"n\":\"abc123\"}".to_owned(),
                "arn:aws:iam::111122223333:role/R'… {\"r\":\"arn:aws:ecr:x:1:a/b2\",\"n\":\"…\"}".to_owned(),
            ),
            ("got wJalrXUtnFEMI/KAMDENG/bPxRfiCYEXAMPLEKEY".to_owned(), "got …".to_owned()),
            ("of aoaAAAAAG7f3xKey:MGUCMQ, client_secret=a".to_owned(), "of …=… client_secret=…".to_owned()),
            ("user:me pwd:letmein passphrase: opensesame".to_owned(), "user:me pwd=… passphrase: …".to_owned()),
            (
                "(Request ID: 0b5bfd3e-8d4c-4a55-9e2a-7a3c1f5d9b10; Proxy: null) id 0b5bfd3e-8d4c-4a55-9e2a-7a3c1f5d9b10".to_owned(),
                "(Request ID: 0b5bfd3e-8d4c-4a55-9e2a-7a3c1f5d9b10; Proxy: null) id …".to_owned(),
            ),
            (
                format!("no /a/{jwt}/b, no arn:aws:sts::1:assumed-role/{jwt}/s"),
                "no /a/…/b, no arn:aws:sts::1:assumed-role/…/s".to_owned(),
            ),
            (
                "cannot open /home/me/.vault/session-0123456789".to_owned(),
                "cannot open /home/me/.vault/session-0123456789".to_owned(),
            ),
        ] {
            assert_eq!(without_secrets(&text), expected);
        }
        assert_eq!(without_secrets(&"a ".repeat(1000)).chars().count(), 401);
        assert_eq!(mask_user_info("https://a.example/@x"), "https://a.example/@x");
    }
}
