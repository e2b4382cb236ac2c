//! The results of `doctor`: checks, and the report that `--json` prints, described by `report.schema.json`.
//!
//! [`Results`] collects the checks as they are done, and makes the same report of the same results in whatever order they come.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::bug_report::BugReport;
use super::check::{Check, Name, Place, Status};
use crate::VERSION;
use crate::code::Code;
use crate::quote::hide_tokens;
use crate::registry::{self, Host};

/// The whole report.
#[derive(Serialize)]
pub(super) struct Report {
    schema: u32,
    version: &'static str,
    pub(super) ok: bool,
    pub(super) summary: Summary,
    #[serde(serialize_with = "each")]
    checks: Vec<Arc<Check>>,
    registries: Vec<RegistryReport>,
    pub(super) environment: BugReport,
}

/// How many shared checks and registries are ok, and how many warnings all checks have.
#[derive(Serialize)]
pub(super) struct Summary {
    ok: usize,
    warnings: usize,
    failed: usize,
}

/// A registry that the user named, with an image if there was one, and the results for it.
#[derive(Clone, Default, Serialize)]
pub(super) struct RegistryReport {
    pub(super) host: String,
    pub(super) image: Option<String>,
    ok: bool,
    pub(super) account: Option<String>,
    pub(super) region: Option<String>,
    /// The AWS profile that is used.
    pub(super) profile: Option<String>,
    /// The ARN of the role that is assumed last.
    pub(super) role: Option<String>,
    /// The ARN that STS reports.
    pub(super) principal: Option<String>,
    /// A description of the source of the credentials.
    pub(super) source: Option<String>,
    /// When the token expires, in RFC 3339.
    pub(super) expiry: Option<String>,
    /// How long the token is valid and until when, for people.
    #[serde(skip)]
    pub(super) valid: Option<String>,
    /// Most are those of other registries too, of which there may be thousands.
    #[serde(serialize_with = "each")]
    pub(super) checks: Vec<Arc<Check>>,
}

fn each<S: Serializer>(checks: &[Arc<Check>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(checks.iter().map(Arc::as_ref))
}

impl RegistryReport {
    /// Parses what the user named.
    pub(super) fn new(text: &str) -> Self {
        let text = registry::typed(text);
        let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
        let (first, path) = bare.split_once('/').unwrap_or((bare, ""));
        // The path of a server URL such as https://HOST/v2/ is not an image.
        let image = Some(path).filter(|path| !matches!(path.trim_end_matches('/'), "" | "v1" | "v2"));
        let host = Host::in_image(text).map_or_else(|| first.to_owned(), |host| host.to_string());
        Self { host, image: image.map(str::to_owned), ..Self::default() }
    }

    /// The host, and the image if there is one.
    pub(super) fn name(&self) -> String {
        self.image.as_ref().map_or_else(|| self.host.clone(), |image| format!("{}/{image}", self.host))
    }

    /// Adds a check of this registry.
    pub(super) fn add(&mut self, check: Check) {
        self.checks.push(Arc::new(check));
    }

    /// Takes the checks that are the same as those of another registry from there.
    pub(super) fn share(&mut self, others: &[Arc<Check>]) {
        for check in &mut self.checks {
            if let Some(same) = others.iter().find(|other| *other == check) {
                *check = same.clone();
            }
        }
    }

    /// Whether all checks passed that later steps depend on. Checks of clients do not count.
    pub(super) fn can_go_on(&self) -> bool {
        let is_of_client = |name| matches!(name, Name::Program | Name::Docker | Name::Podman);
        self.checks.iter().all(|check| check.status != Status::Failure || is_of_client(check.name))
    }

    pub(super) fn finish(mut self) -> Self {
        for text in [&mut self.profile, &mut self.role, &mut self.principal, &mut self.source].into_iter().flatten() {
            *text = hide_tokens(text);
        }
        self.ok = self.checks.iter().all(|check| check.status != Status::Failure);
        self
    }

    /// Whether it failed, else whether it has a warning of its own.
    pub(super) fn status(&self) -> Status {
        let own = self.checks.iter().filter(|check| check.is_own()).map(|check| check.status);
        if self.ok { own.max().unwrap_or(Status::Ok) } else { Status::Failure }
    }
}

/// A check among those that registries share, in the order of the report.
type Key = (Place, Name, Status, Option<&'static str>);

/// The results so far, in the order of the report.
#[derive(Default)]
pub(super) struct Results {
    /// Each check with the index of the registry that it was made for.
    shared: BTreeMap<Key, (usize, Arc<Check>)>,
    registries: BTreeMap<usize, RegistryReport>,
}

impl Results {
    /// Adds a check that was made for the registry at this index. Returns whether it is new. The texts of a check differ in times
    /// and access keys; that for the first registry remains, whichever is done first.
    pub(super) fn add_check(&mut self, index: usize, check: &Arc<Check>) -> bool {
        let key = (check.place, check.name, check.status, check.code.map(Code::name));
        match self.shared.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert((index, check.clone()));
                return true;
            }
            Entry::Occupied(mut entry) if index < entry.get().0 => {
                entry.insert((index, check.clone()));
            }
            Entry::Occupied(_) => {}
        }
        false
    }

    pub(super) fn add_registry(&mut self, index: usize, report: RegistryReport) {
        self.registries.insert(index, report);
    }

    pub(super) fn into_report(self, environment: BugReport) -> Report {
        let checks: Vec<Arc<Check>> = self.shared.into_values().map(|(_, check)| check).collect();
        let registries: Vec<RegistryReport> = self.registries.into_values().collect();
        let own = registries.iter().flat_map(|registry| &registry.checks).filter(|check| check.is_own());
        let warnings = checks.iter().chain(own).filter(|check| check.status == Status::Warning).count();
        let shared = |status| checks.iter().filter(|check| check.status == status).count();
        let (shared_ok, shared_failed) = (shared(Status::Ok), shared(Status::Failure));
        let healthy = registries.iter().filter(|registry| registry.ok).count();
        let broken = registries.len() - healthy;
        // A shared check counts if a registry depends on it.
        let ok = if registries.is_empty() { shared_failed == 0 } else { broken == 0 };
        let summary = Summary { ok: healthy + shared_ok, warnings, failed: broken + shared_failed };
        Report { schema: 1, version: VERSION, ok, summary, checks, registries, environment }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ok, warnings, failed } = self;
        write!(f, "{ok} ok, {failed} failed")?;
        match warnings {
            0 => Ok(()),
            1 => write!(f, ", 1 warning"),
            _ => write!(f, ", {warnings} warnings"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::super::bug_report::BugReport;
    use super::{Check, Name, Place, RegistryReport, Results};
    use crate::code::Code;
    use crate::error::Failure;

    const HOST: &str = "111122223333.dkr.ecr.us-east-1.amazonaws.com";

    fn failure(code: Code, what: &str) -> Failure {
        Failure::new(code, what, "fix")
    }

    /// The report in JSON of these results.
    fn report<'a>(checks: impl Iterator<Item = &'a (usize, Check)>, registries: &[RegistryReport]) -> Value {
        let mut results = Results::default();
        for (index, check) in checks {
            results.add_check(*index, &Arc::new(check.clone()));
        }
        for (index, registry) in registries.iter().enumerate().rev() {
            results.add_registry(index, registry.clone());
        }
        json!(results.into_report(BugReport::default()))
    }

    fn registry(name: &str, checks: impl IntoIterator<Item = Check>) -> RegistryReport {
        RegistryReport { checks: checks.into_iter().map(Arc::new).collect(), ..RegistryReport::new(name) }.finish()
    }

    #[test]
    fn a_check_is_named_in_json_as_in_the_text_and_the_schema_knows_it() {
        let schema: Value = serde_json::from_str(super::super::SCHEMA).expect("JSON");
        let known = schema["$defs"]["check"]["properties"]["check"]["enum"].as_array().expect("names").clone();
        for name in [Name::Program, Name::Skopeo, Name::Clients, Name::Mapping, Name::Clock, Name::Image] {
            assert_eq!(json!(name), name.text());
            assert!(known.contains(&name.text().into()), "{name:?}");
        }
    }

    #[test]
    fn the_same_results_make_the_same_report_in_any_order() {
        let denied = Check::failed(Name::Token, failure(Code::EcrDenied, "no")).at(Place::Shared(2));
        let checks = [
            (0, Check::ok(Name::Program, "here").at(Place::Machine(0))),
            (0, Check::warned(Name::Docker, failure(Code::ClientConfigInvalid, "one")).at(Place::Machine(1))),
            (0, Check::warned(Name::Docker, failure(Code::ClientConfigInvalid, "two")).at(Place::Machine(2))),
            (0, Check::ok(Name::Endpoint, "x").at(Place::Shared(0))),
            (0, Check::ok(Name::Token, "in 1 ms").at(Place::Shared(0))),
            (2, Check::ok(Name::Credentials, "of the second, in 2 ms").at(Place::Shared(0))),
            (0, Check::ok(Name::Credentials, "of the first, in 1 ms").at(Place::Shared(0))),
            (1, Check::ok(Name::Token, "in 1 ms").at(Place::Shared(1))),
            (2, denied),
            (1, Check::ok(Name::Clock, "agrees").at(Place::Clock)),
            (2, Check::ok(Name::Clock, "1 s behind").at(Place::Clock)),
        ];
        let forward = report(checks.iter(), &[]);
        assert_eq!(forward, report(checks.iter().rev(), &[]));
        let shown = forward["checks"].as_array().expect("checks").iter().map(|check| check["what"].as_str());
        let expected =
            ["here", "one", "two", "agrees", "x", "of the first, in 1 ms", "in 1 ms", "in 1 ms", "no"].map(Some);
        assert_eq!(shown.collect::<Vec<_>>(), expected);
        assert_eq!(forward["summary"], json!({"ok": 6, "warnings": 2, "failed": 1}));
    }

    #[test]
    fn the_summary_counts_a_shared_check_once_and_the_verdict_is_that_of_the_registries() {
        let shared = Check::warned(Name::Docker, failure(Code::ClientConfigInvalid, "x")).at(Place::Machine(0));
        let own = Check::warned(Name::Credentials, failure(Code::SettingPassedOver, "y"));
        let unused = Check::failed(Name::Podman, failure(Code::ClientNotSetUp, "z")).at(Place::Machine(1));
        let checks = [(0, shared.clone()), (0, unused)];
        let all = report(checks.iter(), &[registry(HOST, [shared.clone(), own]), registry(HOST, [shared])]);
        assert_eq!(all["summary"], json!({"ok": 2, "warnings": 2, "failed": 1}));
        assert_eq!(all["ok"], true, "no registry depends on the check that failed");
        assert_eq!(report(checks.iter(), &[])["ok"], false, "without a registry, each check counts");
        let denied = Check::failed(Name::Registry, failure(Code::RegistryDenied, "no"));
        let all = report(checks.iter(), &[registry(HOST, []), registry("other.example/app:1", [denied])]);
        assert_eq!((&all["ok"], &all["summary"]["failed"]), (&json!(false), &json!(2)));
        let [first, second] = [0, 1].map(|index| &all["registries"][index]);
        assert_eq!((&first["host"], &first["image"], &first["ok"]), (&json!(HOST), &Value::Null, &json!(true)));
        assert_eq!((&second["host"], &second["image"]), (&json!("other.example"), &json!("app:1")));
        let check = &second["checks"][0];
        assert_eq!(
            check,
            &json!({
                "check": "registry", "status": "failure", "code": "E-REGISTRY-DENIED", "what": "no", "fix": "fix"
            })
        );
    }

    #[test]
    fn what_the_user_names_is_a_host_or_an_image() {
        for (text, host, image) in [
            (HOST.to_owned(), HOST, None),
            (format!("https://{HOST}/v2/"), HOST, None),
            (format!("docker://{HOST}/team/app:1"), HOST, Some("team/app:1")),
            (format!("{HOST}:443/app"), &format!("{HOST}:443"), Some("app")),
            (format!("https://{HOST}:443/v2/"), HOST, None),
            ("ghcr.io".to_owned(), "ghcr.io", None),
            ("*.amazonaws.com".to_owned(), "*.amazonaws.com", None),
        ] {
            let report = RegistryReport::new(&text);
            assert_eq!((report.host.as_str(), report.image.as_deref()), (host, image), "{text}");
        }
    }
}
