//! The program as its users meet it: a process, its standard streams and exit code, real HTTP, real clients.
//!
//! | module | what it shows |
//! | --- | --- |
//! | `protocol` | every action and every wrong request, byte for byte |
//! | `hosts` | which server URLs are ECR's, and that hostile input is refused at once |
//! | `exchange` | the requests to AWS, and the use of its answers |
//! | `cache` | one API call, freshness, refresh, identities kept apart, damaged entries |
//! | `sources` | every source of credentials, with one request to each; how to add one |
//! | `metadata` | the endpoints of instances and containers: versions, refusals, limits |
//! | `hostile` | times, numbers and limits from outside that nothing valid has |
//! | `bazel` | Bazel's credential helper protocol |
//! | `ci` | identities of CI jobs: GitHub's tokens, tokens in variables, keys by account |
//! | `processes` | when tokens of a `credential_process` are cached |
//! | `whose_token` | worlds in which another identity's token was once served |
//! | `secrecy` | the text of other programs and the values of settings stay out of logs, files and answers |
//! | `misplaced` | a token or a key in a setting that is meant for something else is shown, logged and stored nowhere |
//! | `reach` | files that are there and that this user cannot reach or read |
//! | `settings` | mistakes in the AWS settings, and what the cache key follows from |
//! | `drop_in` | the AWS settings mean what they mean to the AWS CLI and the SDK for Go |
//! | `mapping` | profiles and roles by registry, custom domains, one token for a region |
//! | `fallback` | another helper for the registries that are not ECR's |
//! | `waiting` | the deadline, and the processes that are stopped at it |
//! | `children` | the programs that the helper starts: limits of output, their end, and that nothing else ends with them |
//! | `network` | proxies, private authorities, endpoints |
//! | `dns` | hosts file and DNS; modules of the C library |
//! | `name_servers` | which of several name servers is asked, and for how long; servers that answer for one kind of address alone |
//! | `codes` | each stable code, provoked once, in a line for people |
//! | `errors` | a message with a fix for each cause of a failure |
//! | `hints` | fixes fit their causes: the setting, file or service that is in the way, and nothing that is not set |
//! | `refusals` | fixes for what a service refuses: the policy that AWS names, a disabled region, the setting of the endpoint |
//! | `concurrency` | parallel processes; leaders that are killed, stopped or slow |
//! | `interleavings` | every order in which processes meet in the cache, explored to the end |
//! | `disks` | faulty disks, damaged entries, other users, growth |
//! | `other_users` | links, files and directories of other users; root in the home of another user |
//! | `faults` | every error of the kernel in every system call |
//! | `fips` | which cryptography TLS uses; post-quantum key exchange (`./tests/run --fips`) |
//! | `fixes` | every command that doctor prints as a fix, run |
//! | `kaniko` | no token becomes part of an image that kaniko builds |
//! | `doctor` | doctor's checks of a machine, its clients and its settings |
//! | `doctor_order` | the report of `doctor` is the same each time, whatever ends first |
//! | `doctor_report` | doctor's output: lines in order, JSON by the schema, checks of images |
//! | `setup` | the changes of setup to the settings of docker and podman |
//! | `provider` | the changes of setup to kubelet's configuration |
//! | `sign_in` | login with MFA codes and sign-ins, logout, and the list of cached tokens |
//! | `export` | passwords in files and variables, written once or refreshed |
//! | `get_login_password` | the password alone, with the options of the AWS CLI |
//! | `setup_hosts` | the hosts that setup's arguments name, and the commands that doctor prints |
//! | `setup_profiles` | the tables that setup writes for AWS profiles, and the questions that it asks |
//! | `budgets` | the cost of a cached answer in counts: system calls, files, memory, instructions; calls to AWS; size |
//! | `properties` | properties of any input |
//! | `identity` | under random settings, one key means one principal, and a cached token is what a `get` without cache gets |
//! | `pairs` | two gets, and between them one change of claims, sandboxes, links, directories, mappings, endpoints, users or times |
//! | `storm` | many gets while links, files and variables flip serve nobody else's token |
//! | `judges` | under random settings, botocore and AWS Labs' helper take the same credentials, but for listed differences |
//! | `own_settings` | mistakes in the helper's own settings |
//! | `list` | the registries that are listed, with an empty cache and with ten thousand of them |
//! | `listing_clients` | docker's classic builder, docker-py and testcontainers, which ask for the list first |
//! | `log` | the log: off by default, private, each decision with its reason |
//! | `output` | error messages and help |
//! | `kubelet` | the image credential provider, by the rules of kubelet's decoder |
//! | `accounts` | service accounts, by the tokens that kubelet sends |
//! | `manifest` | Cargo.toml and the documents, compared with the code |
//! | `pages` | manual pages and completions |
//! | `picture` | draws the picture in the README |
//! | `clients` | docker, podman, buildah, skopeo, helm and oras against a registry with TLS; the README's recipes |
//! | `newer_clients` | current versions of oras, cosign, docker compose and docker buildx against the same registry |
//! | `containers` | several versions of podman, buildah and skopeo, compared with the reports of doctor and setup |
//! | `docker_settings` | several versions of docker, compared with the reports of doctor |
//! | `packages` | deb, rpm, image and tarball, installed and used (`./tests/run --packages`) |
//! | `newcomer` | each line of the documents, on a fresh Debian (`./tests/run --packages`) |
//! | `clusters` | kubelet's configuration, DaemonSet, permissions, CronJob, user data |
//! | `recipes` | formula, manifest, check of a tag |
//! | `rules` | the rules of CONTRIBUTING, checked in the source |
//! | `action` | the GitHub Action, also with a release that was tampered with |
//! | `windows` | behaviour that is specific to Windows, in wine (`./tests/run --platforms`) |
//!
//! What the tests share is in `tests/support`:
//!
//! | fixture | what it is |
//! | --- | --- |
//! | `helper` | the program as a process, with a home and an environment of its own; seeds of random tests |
//! | `process` | ends of processes and conditions, each with a time limit |
//! | `namespace` | private mounts and networks, daemons in them, and the list of what is left out |
//! | `issuers` | what identities come from: JWTs, sign-ins, the addresses of instances and containers |
//! | `worlds`, `sites` | random settings; where they are put, and the principal that they lead to |
//! | `scenes`, `witness` | the random scenes of `pairs`; a stand-in for AWS whose tokens tell who asked |
//! | `real_clients` | a machine for docker, podman and others, with a registry |
//! | `support` | the stand-ins for AWS and for a registry, and certificates, which the demo uses too |

// Tests of modes, signals and namespaces have no counterpart on Windows, where the unit tests and the demo run.
#![cfg(unix)]
#![expect(clippy::disallowed_methods, reason = "tests/run passes settings to the tests in variables")]

#[path = "../support/helper.rs"]
mod helper;
#[path = "../support/issuers.rs"]
mod issuers;
#[path = "../support/namespace.rs"]
mod namespace;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/real_clients.rs"]
mod real_clients;
#[path = "../support/scenes.rs"]
mod scenes;
#[path = "../support/sites.rs"]
mod sites;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/witness.rs"]
mod witness;
#[path = "../support/worlds.rs"]
mod worlds;

mod accounts;
mod action;
mod bazel;
mod budgets;
mod cache;
mod children;
mod ci;
mod clients;
mod clusters;
mod codes;
mod concurrency;
mod containers;
mod disks;
mod dns;
mod docker_settings;
mod doctor;
mod doctor_order;
mod doctor_report;
mod drop_in;
mod errors;
mod exchange;
mod export;
mod fallback;
mod faults;
mod fips;
mod fixes;
mod get_login_password;
mod hints;
mod hostile;
mod hosts;
mod identity;
mod interleavings;
mod judges;
mod kaniko;
mod kubelet;
mod list;
mod listing_clients;
mod log;
mod manifest;
mod mapping;
mod metadata;
mod misplaced;
mod name_servers;
mod network;
mod newcomer;
mod newer_clients;
mod other_users;
mod output;
mod own_settings;
mod packages;
mod pages;
mod pairs;
mod picture;
mod processes;
mod properties;
mod protocol;
mod provider;
mod reach;
mod recipes;
mod refusals;
mod rules;
mod secrecy;
mod settings;
mod setup;
mod setup_hosts;
mod setup_profiles;
mod sign_in;
mod sources;
mod storm;
mod waiting;
mod whose_token;
mod windows;

/// A registry in us-east-1.
const HOST: &str = "111122223333.dkr.ecr.us-east-1.amazonaws.com";
/// What clients compare for equality.
const NOT_FOUND: &str = "credentials not found in native keychain";
