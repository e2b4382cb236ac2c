//! Which variables of the environment count for an identity.
//!
//! A `credential_process` gets the whole environment, so all of it counts for it, except what is [made up](for_programs) for each
//! run: it differs from one run, window or job to the next, and says nothing about who runs it. Tokens that CI systems set are
//! not among it, nor are the sockets of agents that hold keys.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use crate::env::Env;
use crate::platform;

/// `AWS_*` variables that change neither who calls nor which endpoint: no endpoint of ECR depends on the account of the keys, and the
/// helper reads the config file in any case and asks whether keys have expired of nobody but AWS.
const IRRELEVANT: &[&str] = &[
    "AWS_ACCOUNT_ID",
    "AWS_CLI_AUTO_PROMPT",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_EXECUTION_ENV",
    "AWS_MAX_ATTEMPTS",
    "AWS_PAGER",
    "AWS_RETRY_MODE",
    "AWS_SDK_LOAD_CONFIG",
];

/// Variables without the prefix `AWS_` that change who calls or which endpoint.
const RELEVANT: &[&str] = &[
    "HOME",
    "USERPROFILE",
    "HOMEDRIVE",
    "HOMEPATH",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Variables of the helper that do not change which token a registry gets.
const OWN_IRRELEVANT: &[&str] = &[
    "AWS_ECR_CACHE_DIR",
    "AWS_ECR_DISABLE_CACHE",
    "AWS_ECR_IGNORE_CREDS_STORAGE",
    "AWS_ECR_LOG",
    "AWS_ECR_LOG_FILE",
    "AWS_ECR_TIMEOUT",
];

/// What docker, terminals, shells and CI systems make up for each run, separated by blanks, by the program that sets it.
const MADE_UP: &[&str] = &[
    // Shells.
    "_ PWD OLDPWD SHLVL COLUMNS LINES",
    // docker, for its plugins, and what it traces with.
    "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND DOCKER_CLI_PLUGIN_SOCKET \
         DOCKER_CLI_PLUGIN_USE_DIAL_STDIO TRACEPARENT TRACESTATE",
    // Terminals and their multiplexers.
    "ALACRITTY_LOG ALACRITTY_SOCKET ALACRITTY_WINDOW_ID GNOME_TERMINAL_SCREEN GNOME_TERMINAL_SERVICE \
         GPG_TTY ITERM_SESSION_ID KITTY_PID KITTY_WINDOW_ID KONSOLE_DBUS_SESSION KONSOLE_DBUS_WINDOW \
         SHELL_SESSION_ID STY TERM_SESSION_ID TILIX_ID TMUX TMUX_PANE VSCODE_GIT_IPC_HANDLE \
         VSCODE_IPC_HOOK_CLI WEZTERM_PANE WEZTERM_UNIX_SOCKET WINDOW WINDOWID WT_SESSION ZELLIJ_PANE_ID \
         ZELLIJ_SESSION_NAME",
    // Logins, desktops and systemd.
    "DESKTOP_STARTUP_ID INVOCATION_ID JOURNAL_STREAM SSH_CLIENT SSH_CONNECTION SSH_TTY \
         SYSTEMD_EXEC_PID XDG_ACTIVATION_TOKEN XDG_SESSION_ID",
    // GitHub Actions.
    "GITHUB_ACTION GITHUB_ENV GITHUB_OUTPUT GITHUB_PATH GITHUB_RUN_ATTEMPT GITHUB_RUN_ID \
         GITHUB_RUN_NUMBER GITHUB_STATE GITHUB_STEP_SUMMARY",
    // GitLab.
    "CI_JOB_ID CI_JOB_STARTED_AT CI_JOB_URL CI_PIPELINE_CREATED_AT CI_PIPELINE_ID CI_PIPELINE_IID \
         CI_PIPELINE_URL",
    // Jenkins.
    "BUILD_DISPLAY_NAME BUILD_ID BUILD_NUMBER BUILD_TAG BUILD_URL EXECUTOR_NUMBER HUDSON_COOKIE \
         HUDSON_SERVER_COOKIE JENKINS_NODE_COOKIE JENKINS_SERVER_COOKIE RUN_ARTIFACTS_DISPLAY_URL \
         RUN_CHANGES_DISPLAY_URL RUN_DISPLAY_URL RUN_TESTS_DISPLAY_URL",
    // Buildkite, CircleCI, Azure Pipelines, AWS CodeBuild.
    "BUILDKITE_BUILD_ID BUILDKITE_BUILD_NUMBER BUILDKITE_BUILD_URL BUILDKITE_JOB_ID CIRCLE_BUILD_NUM \
         CIRCLE_BUILD_URL CIRCLE_WORKFLOW_ID CIRCLE_WORKFLOW_JOB_ID BUILD_BUILDID BUILD_BUILDNUMBER \
         BUILD_BUILDURI SYSTEM_JOBID SYSTEM_TIMELINEID CODEBUILD_BUILD_ARN CODEBUILD_BUILD_ID \
         CODEBUILD_BUILD_NUMBER CODEBUILD_LOG_PATH CODEBUILD_START_TIME",
];

/// The variables that can change who calls or which endpoint.
pub(super) fn for_identity(env: &Env) -> impl Iterator<Item = (&OsStr, &OsStr)> {
    env.iter().filter(|(name, _)| is_relevant(name))
}

/// The variables that can change which identity a request has. The request of a GitHub Actions job is not in it, but observed: the
/// jobs of a machine share one manifest.
pub(super) fn for_request(env: &Env) -> impl Iterator<Item = (&OsStr, &OsStr)> {
    let is_own =
        |name: &str| name == "XDG_CONFIG_HOME" || (name.starts_with("AWS_ECR_") && !OWN_IRRELEVANT.contains(&name));
    env.iter().filter(move |(name, _)| is_relevant(name) || name.to_str().is_some_and(is_own))
}

/// The variables that a program may read, without those that are made up for each run.
pub(super) fn for_programs(env: &Env) -> impl Iterator<Item = (&OsStr, &OsStr)> {
    let made_up: BTreeSet<&str> = MADE_UP.iter().flat_map(|names| names.split(' ')).collect();
    let is_irrelevant =
        move |name: &str| made_up.contains(name) || OWN_IRRELEVANT.contains(&name) || name.starts_with(platform::MARK);
    env.iter().filter(move |(name, _)| !name.to_str().is_some_and(&is_irrelevant))
}

fn is_relevant(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return true };
    RELEVANT.contains(&name)
        || (name.starts_with("AWS_") && !name.starts_with("AWS_ECR_") && !IRRELEVANT.contains(&name))
}
