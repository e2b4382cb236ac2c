//! The files for clusters in `packaging/kubelet`, run or validated by the schemas of Kubernetes: kubelet's configuration,
//! the DaemonSet, permissions, the pull secret's CronJob, user data.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use docker_credential_ecr_login::registry::{Registry, host_patterns};
use glob::Pattern;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::HOST;
use crate::helper::{self, Helper, program};
use crate::issuers::jwt;
use crate::kubelet::{ROLE, V1, credential, image};
use crate::namespace::skip;
use crate::process::{self, end, output, run, start};
use crate::real_clients::shell;
use crate::recipes::{HOMEPAGE, IMAGE, NAME, VERSION, release};
use crate::support::aws::Aws;

const CONFIG: &str = "packaging/kubelet/credential-provider-config.yaml";

/// `CredentialProviderConfig` of kubelet.config.k8s.io/v1. Like kubelet's decoder it takes no other fields.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    api_version: String,
    kind: String,
    pub providers: Vec<Provider>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provider {
    pub name: String,
    pub match_images: Vec<String>,
    default_cache_duration: String,
    api_version: String,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    env: Vec<Variable>,
    token_attributes: Option<TokenAttributes>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TokenAttributes {
    service_account_token_audience: String,
    /// Since Kubernetes 1.34, and then required.
    cache_type: Option<String>,
    require_service_account: bool,
    #[serde(default)]
    required_service_account_annotation_keys: Vec<String>,
    #[serde(default)]
    optional_service_account_annotation_keys: Vec<String>,
}

impl Config {
    /// Decodes and validates as kubelet does when it starts.
    pub fn read(document: Value) -> Result<Self, String> {
        let config: Self = serde_json::from_value(document).map_err(|error| error.to_string())?;
        if (config.api_version.as_str(), config.kind.as_str())
            != ("kubelet.config.k8s.io/v1", "CredentialProviderConfig")
        {
            return Err("wrong kind".to_owned());
        }
        if config.providers.is_empty() {
            return Err("at least one provider is required".to_owned());
        }
        for (index, provider) in config.providers.iter().enumerate() {
            let name = &provider.name;
            if config.providers[..index].iter().any(|other| other.name == *name) {
                return Err(format!("{name} is there twice"));
            }
            if name.contains(['/', ' ']) || provider.match_images.is_empty() || provider.api_version != V1 {
                return Err(format!("{name}: name, images or version"));
            }
            if let Some(attributes) = &provider.token_attributes {
                let (required, optional) = (
                    &attributes.required_service_account_annotation_keys,
                    &attributes.optional_service_account_annotation_keys,
                );
                if attributes.service_account_token_audience.is_empty()
                    || attributes.cache_type.as_deref().is_some_and(|kind| !["ServiceAccount", "Token"].contains(&kind))
                    || !attributes.require_service_account && !required.is_empty()
                    || required.iter().any(|key| optional.contains(key))
                {
                    return Err(format!("{name}: token attributes {attributes:?}"));
                }
            }
        }
        Ok(config)
    }
}

impl Provider {
    /// Whether kubelet asks this provider for images of `host`: the labels are as many, and each matches as a glob.
    pub fn is_asked_for(&self, host: &str) -> bool {
        let labels: Vec<&str> = host.split('.').collect();
        self.match_images.iter().any(|image| {
            let globs: Vec<&str> = image.split('.').collect();
            let fits = |(glob, label): (&&str, &&str)| Pattern::new(glob).expect("a glob").matches(label);
            globs.len() == labels.len() && globs.iter().zip(&labels).all(fits)
        })
    }
}

/// A host of every form that the helper serves.
pub fn hosts() -> Vec<String> {
    let regions = [
        "us-east-1",
        "us-gov-west-1",
        "cn-north-1",
        "eusc-de-east-1",
        "us-iso-east-1",
        "us-isob-east-1",
        "eu-isoe-west-1",
        "us-isof-south-1",
    ];
    let mut hosts = Vec::new();
    for pattern in host_patterns() {
        let before = hosts.len();
        for region in regions {
            let host = pattern.replacen('*', "111122223333", 1).replacen('*', region, 1);
            if Registry::parse(&host).is_some() && !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        assert!(hosts.len() > before, "{pattern} is no host of ECR's");
    }
    hosts
}

#[test]
fn kubelet_asks_for_every_form_of_host_and_no_other() {
    let Some(documents) = documents(&read(CONFIG)) else { return };
    let config = Config::read(documents[0].clone()).expect("a configuration");
    let hosts = hosts();
    assert!(hosts.len() > 25, "{hosts:?}");
    for provider in &config.providers {
        for host in &hosts {
            assert!(provider.is_asked_for(host), "{} is not asked for {host}", provider.name);
        }
        // What EKS has in its own configuration, and a few that are nobody's.
        for (host, expected) in [
            ("111122223333.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", true),
            ("111122223333.dkr.ecr.us-isof-south-1.csp.hci.ic.gov", true),
            ("111122223333.dkr-ecr-fips.us-gov-west-1.on.aws", true),
            ("ecr-public.aws.com", true),
            ("docker.io", false),
            ("evil.example", false),
            ("111122223333.dkr.ecr.us-east-1.amazonaws.com.evil.example", false),
        ] {
            assert_eq!(provider.is_asked_for(host), expected, "{host}");
        }
        assert_eq!(provider.match_images, host_patterns(), "{} has none that is of no use", provider.name);
    }
}

/// kubelet does not start with a configuration that it cannot read.
#[test]
fn what_the_comments_of_kubelets_configuration_leave_out_can_be_left_out() {
    let text = read(CONFIG);
    let mut entries: Vec<&str> = text.split("\n  - name: ").collect();
    assert_eq!(entries.len(), 3, "a head and two entries");
    // The comment of the second ends the first.
    let comment = entries[1].rfind("\n  # All pods").expect("the comment of the second entry");
    let (first, second_comment) = entries[1].split_at(comment);
    entries[1] = first;
    let (head, first_comment) = entries[0].split_at(entries[0].find("\n  # Pods").expect("a comment"));
    let first = format!("{first_comment}\n  - name: {}", entries[1]);
    let second = format!("{second_comment}\n  - name: {}", entries[2]);
    assert_eq!(format!("{head}{first}{second}"), text);
    let of_1_33 = first.replace("      cacheType: ServiceAccount\n", "");
    assert_ne!(of_1_33, first);
    for (text, names) in [
        (text.clone(), &[NAME, "ecr-credential-provider"][..]),
        (format!("{head}{first}"), &[NAME]),
        (format!("{head}{second}"), &["ecr-credential-provider"]),
        (format!("{head}{of_1_33}{second}"), &[NAME, "ecr-credential-provider"]),
    ] {
        let Some(documents) = documents(&text) else { return };
        let config = Config::read(documents[0].clone()).unwrap_or_else(|error| panic!("{error}: {text}"));
        let found: Vec<&str> = config.providers.iter().map(|provider| provider.name.as_str()).collect();
        assert_eq!(found, names);
    }
}

#[test]
fn kubelet_calls_the_plugin_by_its_configuration() {
    let Some(documents) = documents(&read(CONFIG)) else { return };
    let config = Config::read(documents[0].clone()).expect("a configuration");
    let names: Vec<_> = config.providers.iter().map(|provider| provider.name.as_str()).collect();
    assert_eq!(names, [NAME, "ecr-credential-provider"]);
    let aws = Aws::start();
    let bin = tempfile::tempdir().expect("a directory");
    for Provider { name, default_cache_duration, api_version, args, env, token_attributes, .. } in config.providers {
        assert_eq!((default_cache_duration.as_str(), api_version.as_str()), ("0s", V1));
        let mut request = json!({"kind": "CredentialProviderRequest", "apiVersion": api_version, "image": image()});
        if let Some(attributes) = &token_attributes {
            assert_eq!(
                (attributes.cache_type.as_deref(), attributes.require_service_account),
                (Some("ServiceAccount"), true)
            );
            assert_eq!(attributes.service_account_token_audience, "sts.amazonaws.com");
            request["serviceAccountToken"] = jwt("system:serviceaccount:team:app", 1).into();
            for key in &attributes.required_service_account_annotation_keys {
                request["serviceAccountAnnotations"][key] = ROLE.into();
            }
        }
        assert_eq!(token_attributes.is_some(), name == NAME, "the node's own token is the second");

        symlink(program(), bin.path().join(&name)).expect("a link");
        let cache = bin.path().join("cache");
        let mut command = Command::new(bin.path().join(&name));
        command.args(args).env_clear();
        for Variable { name, value } in env {
            assert_eq!(
                (name.as_str(), value.as_str()),
                ("AWS_ECR_CACHE_DIR", "/var/cache/docker-credential-ecr-login")
            );
            command.env(name, &cache);
        }
        // What the node is: an endpoint, and for itself alone credentials.
        command.env("AWS_ENDPOINT_URL", aws.url()).env("AWS_EC2_METADATA_DISABLED", "true");
        if token_attributes.is_none() {
            command.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "stand-in");
        }
        let before = crate::helper::entries(&cache).len();
        credential(&run(&mut command, request.to_string()), V1, HOST);
        assert_eq!(crate::helper::entries(&cache).len(), before + 1, "kept where the configuration says");
    }
}

#[test]
fn the_daemon_set_puts_both_names_on_the_node_and_replaces_old_ones() {
    let release = release();
    let path = release.path().join("daemonset.yaml");
    let text = fs::read_to_string(&path).expect("a file");
    let Some(sets) = documents(&text) else { return };
    let [set] = &sets[..] else { panic!("one document: {sets:?}") };
    let pod = &set["spec"]["template"]["spec"];
    let volume = |name: &str| {
        let mut volumes = pod["volumes"].as_array().expect("volumes").iter();
        volumes.find(|volume| volume["name"] == name).expect("a volume").clone()
    };
    assert_eq!(pod["initContainers"][0]["image"], format!("{IMAGE}:{VERSION}-docker"), "the image with a shell");
    assert_eq!(set["spec"]["selector"]["matchLabels"], set["spec"]["template"]["metadata"]["labels"]);
    let node_path = volume("node")["hostPath"]["path"].as_str().expect("a path").to_owned();
    assert!(text.contains(&format!("--image-credential-provider-bin-dir={node_path}/bin\n")));
    let config_flag = format!("--image-credential-provider-config={node_path}/credential-provider-config.yaml\n");
    assert!(text.contains(&config_flag));

    // Its script, with directories of the test as the mounts of the container.
    let install = &pod["initContainers"][0];
    let command: Vec<_> = install["command"].as_array().expect("a command").iter().map(|word| word.as_str()).collect();
    assert_eq!(command, [Some("sh"), Some("-euc")]);
    let mut script = install["args"][0].as_str().expect("a script").to_owned();
    is_restricted(pod);
    let root = tempfile::tempdir().expect("a directory");
    for mount in install["volumeMounts"].as_array().expect("mounts") {
        let path = mount["mountPath"].as_str().expect("a path");
        let here = root.path().join(mount["name"].as_str().expect("a name"));
        fs::create_dir(&here).expect("a directory");
        script = script.replace(&format!("{path}/"), &format!("{}/", here.display()));
    }
    let at = |path: &str| root.path().join(path);
    let source = program().display().to_string();
    script = script.replace(&format!("/usr/bin/{NAME}"), &source);
    assert!(script.contains(&format!("cp {source} ")), "{script}");
    fs::copy("packaging/kubelet/credential-provider-config.yaml", at("config/credential-provider-config.yaml"))
        .expect("a copy");
    fs::create_dir_all(at("node/bin")).expect("a directory");
    fs::write(at("node/bin/ecr-credential-provider"), "an old one").expect("a write");
    shell(&script);
    let mut names: Vec<_> =
        fs::read_dir(at("node/bin")).expect("a directory").map(|file| file.expect("a file").file_name()).collect();
    names.sort();
    assert_eq!(names, [NAME, "ecr-credential-provider"]);
    let program = fs::read(program()).expect("a program");
    for file in names.iter().map(|name| at("node/bin").join(name)) {
        assert!(fs::read(&file).expect("a file") == program, "{}", file.display());
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o755);
    }
    assert!(at("node/credential-provider-config.yaml").exists());
}

/// What a cluster may demand of pods, but for the user: the node's directory belongs to root.
#[track_caller]
fn is_restricted(pod: &Value) {
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["automountServiceAccountToken"], false);
    for container in ["initContainers", "containers"].iter().flat_map(|kind| pod[kind].as_array().expect("containers"))
    {
        let context = &container["securityContext"];
        assert_eq!(
            (&context["readOnlyRootFilesystem"], &context["allowPrivilegeEscalation"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        let resources = &container["resources"];
        assert!(
            resources["requests"]["memory"].is_string() && resources["limits"]["memory"].is_string(),
            "{container}"
        );
        let image = container["image"].as_str().expect("an image");
        assert!(
            image.contains("@sha256:") || image.starts_with(&format!("{IMAGE}:{VERSION}")),
            "a tag that moves: {image}"
        );
    }
}

/// A directory with these files as `kubectl apply -k` renders it; `None` where kubectl is not installed.
fn kustomized(files: &[(&str, String)]) -> Option<Vec<Value>> {
    let kubectl = python().with_file_name("kubectl");
    if !kubectl.exists() {
        skip("kustomizations", "kubectl is not installed");
        return None;
    }
    let dir = tempfile::tempdir().expect("a directory");
    for (name, content) in files {
        fs::write(dir.path().join(name), content).expect("a write");
    }
    let output = output(Command::new(kubectl).arg("kustomize").arg(dir.path()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    documents(&String::from_utf8(output.stdout).expect("UTF-8"))
}

#[test]
fn a_changed_configuration_replaces_the_daemon_set_s_pods() {
    let release = release();
    let file = |name: &str| read(release.path().join(name));
    let config_map = |config: String| {
        let files = [
            ("kustomization.yaml", file("kustomization.yaml")),
            ("daemonset.yaml", file("daemonset.yaml")),
            ("service-account-audience.yaml", file("service-account-audience.yaml")),
            ("credential-provider-config.yaml", config),
        ];
        let rendered = kustomized(&files)?;
        are_valid(&rendered);
        let of_kind = |kind: &str| rendered.iter().find(|one| one["kind"] == kind).expect("one").clone();
        let (map, set) = (of_kind("ConfigMap"), of_kind("DaemonSet"));
        let named = set["spec"]["template"]["spec"]["volumes"].as_array().expect("volumes").iter();
        let named: Vec<_> = named.filter_map(|volume| volume["configMap"]["name"].as_str()).collect();
        assert_eq!(named, [map["metadata"]["name"].as_str().expect("a name")]);
        assert_eq!(map["metadata"]["namespace"], set["metadata"]["namespace"]);
        Some(named[0].to_owned())
    };
    let config = file("credential-provider-config.yaml");
    let (Some(first), Some(second)) = (config_map(config.clone()), config_map(config.replace("0s", "1s"))) else {
        return;
    };
    assert_ne!(first, second);
}

#[test]
fn the_permission_of_kubelets_is_for_the_audience_of_the_configuration() {
    let Some(documents) = documents(&read("packaging/kubelet/service-account-audience.yaml")) else { return };
    let [role, binding] = &documents[..] else { panic!("a role and its binding: {documents:?}") };
    let config = Config::read(self::documents(&read(CONFIG)).expect("YAML")[0].clone()).expect("a configuration");
    let audience = config.providers.iter().find_map(|provider| provider.token_attributes.as_ref());
    let audience = &audience.expect("an entry with tokens").service_account_token_audience;
    assert_eq!((&role["kind"], &binding["kind"]), (&json!("ClusterRole"), &json!("ClusterRoleBinding")));
    let rule =
        json!([{"apiGroups": [""], "resources": [audience], "verbs": ["request-serviceaccounts-token-audience"]}]);
    assert_eq!(role["rules"], rule);
    let name = &role["metadata"]["name"];
    assert_eq!(
        binding["roleRef"],
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name})
    );
    assert_eq!(
        binding["subjects"],
        json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}])
    );
}

#[test]
fn the_cron_job_writes_the_secret_that_it_may_change() {
    let release = release();
    let text = read(release.path().join("pull-secret.yaml"));
    let Some(documents) = documents(&text) else { return };
    let [account, role, binding, job] = &documents[..] else { panic!("four documents: {documents:?}") };
    let pod = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    let [token, apply] = [&pod["initContainers"][0], &pod["containers"][0]];
    assert_eq!(token["image"], format!("{IMAGE}:{VERSION}"));
    let args = strings(&token["args"]);
    let value = |flag: &str| args.iter().find_map(|arg| arg.strip_prefix(flag)).expect(flag);
    let (name, namespace, file) = (value("--name="), value("--namespace="), value("--output="));

    is_restricted(pod);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    // The account's token is where kubectl looks for it, and in the other container there is none.
    let mounts = |container: &Value| -> Vec<String> {
        let mounts = container["volumeMounts"].as_array().expect("mounts").iter();
        mounts.map(|mount| mount["mountPath"].as_str().expect("a path").to_owned()).collect()
    };
    assert_eq!(mounts(token), ["/secret"]);
    assert_eq!(mounts(apply), ["/secret", "/var/run/secrets/kubernetes.io/serviceaccount"]);
    assert_eq!(apply["envFrom"], Value::Null, "AWS credentials");

    // The secret goes from one container to the other, and no further.
    assert_eq!(strings(&apply["command"]).last().map(String::as_str), Some(file));
    let mounted = Path::new(file).parent().and_then(Path::to_str);
    for container in [token, apply] {
        assert_eq!(container["volumeMounts"][0]["mountPath"].as_str(), mounted);
        assert_eq!(container["volumeMounts"][0]["name"], pod["volumes"][0]["name"]);
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    }
    assert_eq!(pod["volumes"][0]["emptyDir"]["medium"], "Memory");

    // Who applies it may do that and nothing else.
    assert_eq!(pod["serviceAccountName"], account["metadata"]["name"]);
    assert_eq!((&binding["roleRef"]["name"], &role["kind"]), (&role["metadata"]["name"], &json!("Role")));
    assert_eq!(
        binding["subjects"],
        json!([{"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": namespace}])
    );
    for document in &documents {
        assert_eq!(document["metadata"]["namespace"], namespace);
    }
    assert_eq!(
        role["rules"],
        json!([
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [name], "verbs": ["patch"]},
        ])
    );
    assert!(
        text.contains(&format!("kubectl create secret generic {name} --type kubernetes.io/dockerconfigjson ")),
        "made before"
    );
    assert!(text.contains(&format!("{{\"imagePullSecrets\": [{{\"name\": \"{name}\"}}]}}")), "the comment's secret");

    let aws = Aws::start();
    let mut helper = Helper::of(&aws);
    for variable in token["env"].as_array().expect("variables") {
        let (name, value) = (variable["name"].as_str().expect("a name"), variable["value"].as_str().expect("a value"));
        helper.set(name, value);
    }
    // The volume of the pod is elsewhere here.
    let file = helper.home().join("secret.yaml");
    let output = format!("--output={}", file.display());
    let args: Vec<&str> =
        args.iter().map(|arg| if arg.starts_with("--output=") { output.as_str() } else { arg }).collect();
    assert!(args.contains(&output.as_str()), "{args:?}");
    helper.run(&args, "").silent();
    let Some(secrets) = self::documents(&std::fs::read_to_string(&file).expect("a secret")) else { return };
    let [secret] = &secrets[..] else { panic!("one secret") };
    assert_eq!((&secret["metadata"]["name"], &secret["metadata"]["namespace"]), (&json!(name), &json!(namespace)));
    assert_eq!(secret["type"], "kubernetes.io/dockerconfigjson");
    are_valid(&secrets);
}

#[test]
fn the_cron_job_assumes_a_role_or_serves_argo_cd_by_patches() {
    let release = release();
    let job = ("pull-secret.yaml", read(release.path().join("pull-secret.yaml")));
    let role = ("pull-secret-role.yaml", read(release.path().join("pull-secret-role.yaml")));
    let kustomization = "resources: [pull-secret.yaml]\npatches: [{path: pull-secret-role.yaml}]\n";
    assert!(role.1.contains("#   resources: [pull-secret.yaml]\n#   patches: [{path: pull-secret-role.yaml}]\n"));
    let of_kind =
        |rendered: &[Value], kind: &str| rendered.iter().find(|one| one["kind"] == kind).expect("one").clone();
    let pod =
        |rendered: &[Value]| of_kind(rendered, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"].clone();
    let files = [("kustomization.yaml", kustomization.to_owned()), job.clone(), role];
    let Some(rendered) = kustomized(&files) else { return };
    are_valid(&rendered);
    let pod_with_role = pod(&rendered);
    let token = &pod_with_role["initContainers"][0];
    let variable = |name: &str| {
        let mut variables = token["env"].as_array().expect("variables").iter();
        variables.find(|variable| variable["name"] == name).map(|variable| variable["value"].clone())
    };
    assert_eq!(variable("AWS_ROLE_ARN"), Some(json!("arn:aws:iam::111122223333:role/EcrPull")));
    assert_eq!(variable("AWS_ECR_DISABLE_CACHE"), Some(json!("1")), "it keeps what it had");
    let file = variable("AWS_WEB_IDENTITY_TOKEN_FILE").expect("a file");
    let mounted = |container: &Value| {
        container["volumeMounts"]
            .as_array()
            .expect("mounts")
            .iter()
            .any(|mount| file.as_str().expect("a path").starts_with(mount["mountPath"].as_str().expect("a path")))
    };
    assert!(mounted(token) && !mounted(&pod_with_role["containers"][0]), "the token is the helper's alone");

    let readme = read("packaging/kubelet/README.md");
    let argo = fences(&readme).find(|text| text.contains("argocd-repository")).expect("a kustomization");
    let Some(rendered) = kustomized(&[("kustomization.yaml", argo), job]) else { return };
    are_valid(&rendered);
    let pod = pod(&rendered);
    let args = strings(&pod["initContainers"][0]["args"]);
    let args: Vec<&str> = args.iter().map(String::as_str).filter(|arg| !arg.starts_with("--output=")).collect();
    let aws = Aws::start();
    let ran = Helper::of(&aws).run(&args, "");
    let secrets = documents(helper::printed(&ran)).expect("YAML");
    let names: Vec<_> = secrets.iter().map(|secret| secret["metadata"]["name"].clone()).collect();
    assert_eq!(of_kind(&rendered, "Role")["rules"][0]["resourceNames"], Value::from(names), "what it may change");
    for document in rendered.iter().chain(&secrets) {
        assert_eq!(document["metadata"]["namespace"], "argocd");
    }
}

/// The fields that Argo CD reads of a repository's Secret (`secretToRepository` in its `util/db/repository_secrets.go`), and
/// those that it takes for booleans.
const ARGOCD_FIELDS: [&str; 8] = ["name", "url", "type", "username", "password", "project", "enableOCI", "insecure"];
const ARGOCD_BOOLEANS: [&str; 2] = ["enableOCI", "insecure"];

#[test]
fn argo_cd_gets_a_repository_secret_for_each_registry() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let other = "222233334444.dkr.ecr.eu-west-1.amazonaws.com";
    let args = ["export", "--format", "argocd-repository", HOST, other, "--namespace", "argocd"];
    let text = helper::printed(&helper.run(&args, "")).to_owned();
    let Some(secrets) = documents(&text) else { return };
    assert_eq!(secrets.len(), 2);
    for (secret, host) in secrets.iter().zip([HOST, other]) {
        let metadata = &secret["metadata"];
        assert_eq!(metadata["name"], format!("ecr-login-{host}"));
        assert_eq!((&metadata["namespace"], &secret["type"]), (&json!("argocd"), &json!("Opaque")));
        assert_eq!(metadata["labels"]["argocd.argoproj.io/secret-type"], "repository");
        assert!(metadata["annotations"][format!("{NAME}/expires-at")].is_string(), "{metadata}");
        let mut fields = serde_json::Map::new();
        for (field, value) in secret["data"].as_object().expect("data") {
            let value = BASE64_STANDARD.decode(value.as_str().expect("text")).expect("base64");
            let value = String::from_utf8(value).expect("UTF-8");
            assert!(ARGOCD_FIELDS.contains(&field.as_str()), "{field}");
            assert!(!ARGOCD_BOOLEANS.contains(&field.as_str()) || value.parse::<bool>().is_ok(), "{field}: {value}");
            fields.insert(field.clone(), value.into());
        }
        let password = helper.get(host).password_for(host);
        let expected = json!({
            "name": host, "url": host, "type": "helm", "enableOCI": "true", "username": "AWS", "password": password,
        });
        assert_eq!(Value::from(fields), expected);
    }
    are_valid(&secrets);
    let named = helper.run(&["export", "--format", "argocd-repository", HOST, "--name", "charts"], "");
    assert!(named.stdout.contains(&format!("\n  name: \"charts-{HOST}\"\n")), "{}", named.stdout);
}

#[test]
fn user_data_installs_the_helper_where_kubelets_look() {
    let release = release();
    let eks = read(release.path().join("eks-user-data.txt"));
    let (headers, script) = eks.split_once("\n\n#!/bin/bash\n").expect("a part that is a script");
    assert!(
        headers
            .starts_with("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"ECR-LOGIN\"\n\n--ECR-LOGIN\n")
    );
    assert!(headers.ends_with("Content-Type: text/x-shellscript; charset=\"us-ascii\""), "{headers}");
    let script = script.strip_suffix("\n--ECR-LOGIN--\n").expect("an end");
    let k3s = read(release.path().join("k3s-rke2-user-data.sh"));

    let drop_in = "etc/systemd/system/kubelet.service.d/50-docker-credential-ecr-login.conf";
    for (name, script, installed, config_path) in [
        ("EKS", script, "etc/eks/image-credential-provider", "etc/eks/image-credential-provider/config.json"),
        ("k3s", &k3s, "var/lib/rancher/credentialprovider/bin", "var/lib/rancher/credentialprovider/config.yaml"),
    ] {
        let root = tempfile::tempdir().expect("a directory");
        let at = root.path().display();
        // Directories of the test stand in for those of the machine and for the page of the release.
        let script = script
            .replace("=/etc/", &format!("={at}/etc/"))
            .replace(" /etc/", &format!(" {at}/etc/"))
            .replace(">/etc/", &format!(">{at}/etc/"))
            .replace("=/var/lib/", &format!("={at}/var/lib/"))
            .replace(
                &format!("{HOMEPAGE}/releases/download/v{VERSION}/"),
                &format!("file://{}/", release.path().display()),
            );
        let bin = root.path().join("bin");
        fs::create_dir(&bin).expect("a directory");
        let systemctl = bin.join("systemctl");
        crate::process::write_program(&systemctl, "#!/bin/sh\necho systemctl \"$@\" >> \"$CALLS\"\n");
        let calls = root.path().join("calls");
        let run = |script: &str| {
            let mut command = Command::new("bash");
            command.args(["-c", script]).env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
            output(command.env("CALLS", &calls))
        };
        let output = run(&script);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let program = root.path().join(installed).join(NAME);
        assert_eq!(fs::metadata(&program).expect(name).permissions().mode() & 0o777, 0o755);
        let setup = format!("setup --kubelet {at}/{config_path}");
        let called = fs::read_to_string(&calls).expect("calls");
        if name == "EKS" {
            let unit = fs::read_to_string(root.path().join(drop_in)).expect("a drop-in");
            assert_eq!(unit, format!("[Service]\nExecStartPre=-{} {setup}\n", program.display()));
            assert_eq!(called, "systemctl daemon-reload\n");
        } else {
            assert_eq!(called, format!("{setup}\n"));
        }

        // The real program carries out what the stand-in was called for.
        let mut command = Command::new(helper::program());
        let output = process::output(command.args(setup.split(' ')).env_clear());
        assert_eq!((output.status.code(), output.stderr.is_empty()), (Some(0), true), "{name}: {output:?}");
        let text = read(root.path().join(config_path));
        let config = Config::read(serde_json::from_str(&text).expect("JSON")).expect("a configuration");
        assert_eq!(config.providers[0].name, NAME);

        // The commands of the README take out what was put in, in an order in which no start of kubelet puts it back.
        let readme = read("packaging/kubelet/README.md");
        let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
        let place = if name == "EKS" { "/etc/eks" } else { "/rancher/" };
        let removal = blocks.into_iter().find(|block| block.contains("--remove") && block.contains(place)).expect(name);
        let removal = removal.replace("/etc/", &format!("{at}/etc/")).replace("/var/lib/", &format!("{at}/var/lib/"));
        crate::process::copy_program(&program);
        let sudo = bin.join("sudo");
        crate::process::write_program(&sudo, "#!/bin/sh\nexec \"$@\"\n");
        let before = fs::read_to_string(&calls).expect("calls").len();
        let output = run(&format!("set -e\n{removal}"));
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!program.exists() && !root.path().join(drop_in).exists(), "{name}");
        let left = fs::read_to_string(root.path().join(config_path)).unwrap_or_default();
        assert!(!left.contains(NAME), "{name}: {left}");
        let restarted = fs::read_to_string(&calls).expect("calls")[before..].to_owned();
        let expected = if name == "EKS" { "daemon-reload\nsystemctl restart kubelet\n" } else { "restart k3s\n" };
        assert_eq!(restarted, format!("systemctl {expected}"));
        fs::copy(release.path().join("SHA256SUMS"), &program).expect("a file in its place");

        // Nothing is installed that the release did not have.
        fs::remove_file(&program).expect("a program");
        let sum = script.find("sum='").expect("a checksum") + 5;
        let output = run(&format!("{}0000{}", &script[..sum], &script[sum + 4..]));
        assert!(!output.status.success() && !program.exists(), "{name}");
    }
}

/// All YAML for clusters, in files and in texts, against the schemas that Kubernetes publishes.
#[test]
fn all_yaml_is_what_kubernetes_knows() {
    let release = release();
    let mut texts = Vec::new();
    for path in files(release.path()).into_iter().chain(files(Path::new("packaging"))) {
        // A patch is a part of a document.
        if path.ends_with("pull-secret-role.yaml") {
            continue;
        }
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("yaml" | "yml") => texts.push((path.clone(), read(&path))),
            Some("md") => texts.extend(fences(&read(&path)).map(|text| (path.clone(), text))),
            _ => {}
        }
    }
    texts.extend(fences(&read("README.md")).map(|text| ("README.md".into(), text)));
    let mut kinds = Vec::new();
    let mut known = Vec::new();
    for (path, text) in texts {
        let Some(documents) = documents(&text) else { return };
        for document in documents {
            // Parts of a document, and GitHub's action.
            let Some(kind) = document["kind"].as_str() else { continue };
            kinds.push(kind.to_owned());
            match kind {
                "CredentialProviderConfig" => {
                    Config::read(document).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                }
                // Rendered by kubectl in other tests.
                "Kustomization" => {}
                // Its schema is published in no package; the flags are those of the DaemonSet's directory.
                "NodeConfig" => {
                    let dir = "/opt/docker-credential-ecr-login";
                    let flags = [
                        format!("--image-credential-provider-bin-dir={dir}/bin"),
                        format!("--image-credential-provider-config={dir}/credential-provider-config.yaml"),
                    ];
                    assert_eq!(
                        document,
                        json!({"apiVersion": "node.eks.aws/v1alpha1", "kind": kind, "spec": {"kubelet": {"flags": flags}}})
                    );
                    let daemon_set = read(release.path().join("daemonset.yaml"));
                    assert!(flags.iter().all(|flag| daemon_set.contains(&format!("{flag}\n"))));
                }
                _ => known.push(document),
            }
        }
    }
    for kind in
        ["CredentialProviderConfig", "ClusterRole", "ClusterRoleBinding", "CronJob", "DaemonSet", "NodeConfig", "Role"]
    {
        assert!(kinds.iter().any(|found| found == kind), "{kind} among {kinds:?}");
    }
    are_valid(&known);
}

/// The oldest version of Kubernetes that has all that is used here, and the newest whose schemas are known.
const VERSIONS: [&str; 2] = ["1.33", "1.37"];

/// Validates documents by the schemas of Kubernetes, where they are installed, and sees that the validator would notice.
#[track_caller]
fn are_valid(documents: &[Value]) {
    let validate = "import json, sys, kubernetes_validate
for document in json.load(sys.stdin):
    for version in sys.argv[1:]:
        assert kubernetes_validate.validate(document, version, strict=True) == version, version";
    let check = |documents: &[Value]| {
        let input = Value::from(documents.to_vec()).to_string();
        end(start(Command::new(python()).args(["-c", validate]).args(VERSIONS), input))
    };
    let output = check(documents);
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("No module named 'kubernetes_validate'") {
        return skip("schemas of Kubernetes", "kubernetes-validate is not installed");
    }
    assert!(output.status.success(), "{said}");
    let mut wrong = documents[0].clone();
    wrong["metadata"]["nmae"] = "x".into();
    assert!(!check(&[wrong]).status.success(), "a field that is not known is found");
}

/// The documents of a YAML text as Kubernetes reads them: as JSON. `None` where no reader of YAML is installed.
fn documents(text: &str) -> Option<Vec<Value>> {
    let convert = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    if !python().exists() {
        skip("YAML files", "moto is not installed");
        return None;
    }
    let output = end(start(Command::new(python()).args(["-c", convert]), text));
    assert!(output.status.success(), "not YAML: {text}");
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// The Python that `tests/run` installs, with moto, which brings PyYAML.
fn python() -> PathBuf {
    let moto = std::env::var("MOTO_SERVER").unwrap_or_else(|_| "target/venv/bin/moto_server".to_owned());
    Path::new(&moto).with_file_name("python")
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// The texts of a document that are marked as YAML.
fn fences(text: &str) -> impl Iterator<Item = String> {
    let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned());
    blocks.collect::<Vec<_>>().into_iter()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for file in fs::read_dir(dir).expect("a directory").map(|file| file.expect("a file").path()) {
        if file.is_dir() { files.extend(self::files(&file)) } else { files.push(file) }
    }
    files
}

fn strings(value: &Value) -> Vec<String> {
    let values = value.as_array().expect("an array").iter();
    values.map(|value| value.as_str().expect("a string").to_owned()).collect()
}
