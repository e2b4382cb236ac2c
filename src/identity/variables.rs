//! Which variables of the environment count for an identity.
//!
//! A `credential_process` gets the whole environment, so all of it counts for it, except what is [made up](MADE_UP) for each
//! run: it differs from one run, window or job to the next, and says nothing about who runs it. Tokens that CI systems set are
//! not among it, nor are the sockets of agents that hold keys. Nor do those of the helper's variables count that change no
//! token. What the command [names](made_up_in) counts.

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

/// What docker, terminals, shells and CI systems make up for each run, separated by blanks, by the program that sets it, with the
/// place that says so where it is not its manual. No role, profile, branch, environment or person is among it.
const MADE_UP: &[&str] = &[
    // Shells, starship, atuin. A PWD that leads to the current directory through a link counts with that directory.
    "_ PWD OLDPWD SHLVL COLUMNS LINES ATUIN_HISTORY_ID ATUIN_SESSION ATUIN_SHLVL STARSHIP_SESSION_KEY",
    // docker, for its plugins (docker/cli, `cli-plugins/manager`, `cmd/docker`), and what it and compose trace with.
    "BUILDX_BUILDER DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND DOCKER_CLI_PLUGIN_SOCKET DOCKER_CLI_PLUGIN_USE_DIAL_STDIO \
         OTEL_RESOURCE_ATTRIBUTES TRACEPARENT TRACESTATE traceparent tracestate",
    // Terminals and their multiplexers: kitty ("Glossary"), alacritty (alacritty(1)), wezterm, Konsole (D-Bus names).
    "ALACRITTY_LOG ALACRITTY_SOCKET ALACRITTY_WINDOW_ID GHOSTTY_SURFACE_ID GNOME_TERMINAL_SCREEN \
         GNOME_TERMINAL_SERVICE GPG_TTY GUAKE_TAB_UUID ITERM_SESSION_ID KITTY_LISTEN_ON KITTY_PID KITTY_PUBLIC_KEY \
         KITTY_WINDOW_ID KONSOLE_DBUS_SERVICE KONSOLE_DBUS_SESSION KONSOLE_DBUS_WINDOW SHELL_SESSION_ID STY \
         TERMINATOR_UUID TERM_SESSION_ID TILIX_ID TMUX TMUX_PANE WARP_SESSION_ID WEZTERM_PANE WEZTERM_UNIX_SOCKET \
         WINDOW WINDOWID WSL_INTEROP WT_SESSION ZELLIJ_PANE_ID ZELLIJ_SESSION_NAME",
    // Editors, in their terminals: the process and the sockets of Visual Studio Code and its git extension, the one of Neovim.
    "CURSOR_TRACE_ID NVIM NVIM_LISTEN_ADDRESS VSCODE_GIT_IPC_AUTH_TOKEN VSCODE_GIT_IPC_HANDLE \
         VSCODE_IPC_HOOK VSCODE_IPC_HOOK_CLI VSCODE_IPC_HOOK_EXTHOST VSCODE_PID",
    // Logins, desktops, sudo (sudo(8): the command that it runs) and systemd (systemd.exec(5)).
    "DESKTOP_STARTUP_ID INVOCATION_ID JOURNAL_STREAM MAINPID MANAGERPID SSH_CLIENT SSH_CONNECTION SSH_TTY \
         SUDO_COMMAND SUDO_TTY SYSTEMD_EXEC_PID XDG_ACTIVATION_TOKEN XDG_SESSION_ID",
    // GitHub Actions. The runner finds the processes of a job by RUNNER_TRACKING_ID.
    "ACTIONS_ORCHESTRATION_ID GITHUB_ACTION GITHUB_ENV GITHUB_OUTPUT GITHUB_PATH GITHUB_RUN_ATTEMPT \
         GITHUB_RUN_ID GITHUB_RUN_NUMBER GITHUB_STATE GITHUB_STEP_SUMMARY RUNNER_TRACKING_ID",
    // GitLab.
    "CI_BUILD_ID CI_CONCURRENT_ID CI_CONCURRENT_PROJECT_ID CI_JOB_ID CI_JOB_STARTED_AT CI_JOB_URL \
         CI_PIPELINE_CREATED_AT CI_PIPELINE_ID CI_PIPELINE_IID CI_PIPELINE_URL",
    // Jenkins.
    "BUILD_DISPLAY_NAME BUILD_ID BUILD_NUMBER BUILD_TAG BUILD_URL EXECUTOR_NUMBER HUDSON_COOKIE \
         HUDSON_SERVER_COOKIE JENKINS_NODE_COOKIE JENKINS_SERVER_COOKIE RUN_ARTIFACTS_DISPLAY_URL \
         RUN_CHANGES_DISPLAY_URL RUN_DISPLAY_URL RUN_TESTS_DISPLAY_URL",
    // Buildkite.
    "BUILDKITE_AGENT_JOB_API_SOCKET BUILDKITE_AGENT_PID BUILDKITE_BUILD_ID BUILDKITE_BUILD_NUMBER \
         BUILDKITE_BUILD_URL BUILDKITE_ENV_FILE BUILDKITE_JOB_ID BUILDKITE_RETRY_COUNT BUILDKITE_STEP_ID",
    // Azure Pipelines ("Use predefined variables"). Its agent finds the processes of a job by VSTS_PROCESS_LOOKUP_ID.
    "BUILD_BUILDID BUILD_BUILDNUMBER BUILD_BUILDURI BUILD_CONTAINERID SYSTEM_JOBATTEMPT SYSTEM_JOBID \
         SYSTEM_PHASEATTEMPT SYSTEM_PIPELINESTARTTIME SYSTEM_PLANID SYSTEM_STAGEATTEMPT \
         SYSTEM_TASKINSTANCEID SYSTEM_TIMELINEID VSTS_PROCESS_LOOKUP_ID",
    // CircleCI, AWS CodeBuild.
    "CIRCLE_BUILD_NUM CIRCLE_BUILD_URL CIRCLE_PIPELINE_ID CIRCLE_PREVIOUS_BUILD_NUM CIRCLE_WORKFLOW_ID \
         CIRCLE_WORKFLOW_JOB_ID CIRCLE_WORKFLOW_WORKSPACE_ID CODEBUILD_BUILD_ARN CODEBUILD_BUILD_ID \
         CODEBUILD_BUILD_NUMBER CODEBUILD_LOG_PATH CODEBUILD_START_TIME",
    // Travis ("Environment Variables"; the timers are in the scripts that it generates), Bitbucket, Semaphore.
    "TRAVIS_BUILD_ID TRAVIS_BUILD_NUMBER TRAVIS_BUILD_WEB_URL TRAVIS_JOB_ID TRAVIS_JOB_NUMBER \
         TRAVIS_JOB_WEB_URL TRAVIS_TIMER_ID TRAVIS_TIMER_START_TIME BITBUCKET_BUILD_NUMBER \
         BITBUCKET_PIPELINE_UUID BITBUCKET_STEP_RUN_NUMBER BITBUCKET_STEP_UUID SEMAPHORE_JOB_ID \
         SEMAPHORE_PIPELINE_ID SEMAPHORE_WORKFLOW_ID SEMAPHORE_WORKFLOW_NUMBER",
    // Drone, its descendants Woodpecker and Harness ("CI environment variables reference").
    "CI_BUILD_NUMBER CI_PIPELINE_CREATED CI_PIPELINE_NUMBER CI_PIPELINE_STARTED CI_STEP_STARTED CI_STEP_URL \
         DRONE_BUILD_CREATED DRONE_BUILD_FINISHED DRONE_BUILD_LINK DRONE_BUILD_NUMBER DRONE_BUILD_STARTED \
         DRONE_JOB_FINISHED DRONE_JOB_STARTED DRONE_STAGE_FINISHED DRONE_STAGE_STARTED DRONE_STEP_NUMBER \
         HARNESS_BUILD_ID HARNESS_EXECUTION_ID",
    // AppVeyor, Cirrus, Bamboo, Codefresh, GoCD.
    "APPVEYOR_BUILD_ID APPVEYOR_BUILD_NUMBER APPVEYOR_JOB_ID APPVEYOR_JOB_NUMBER CIRRUS_BUILD_ID \
         CIRRUS_TASK_ID bamboo_buildNumber bamboo_buildResultKey CF_BUILD_ID CF_BUILD_TIMESTAMP \
         CF_BUILD_URL GO_PIPELINE_COUNTER GO_STAGE_COUNTER",
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

/// The variables that a program may read, without those that count only where its command names them.
pub(super) fn for_programs(env: &Env) -> impl Iterator<Item = (&OsStr, &OsStr)> {
    let made_up: BTreeSet<&str> = made_up().collect();
    let is_irrelevant = move |name: &str| made_up.contains(name) || name.starts_with(platform::MARK);
    env.iter().filter(move |(name, _)| !name.to_str().is_some_and(&is_irrelevant))
}

/// Of the variables that count only where a command names them, those that this one names, in whatever form. `_` is a part of too many
/// names.
pub(super) fn made_up_in(command: &str) -> impl Iterator<Item = &'static str> {
    made_up().filter(move |name| *name != "_" && command.contains(name))
}

fn made_up() -> impl Iterator<Item = &'static str> {
    MADE_UP.iter().chain(OWN_IRRELEVANT).flat_map(|names| names.split(' '))
}

fn is_relevant(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return true };
    RELEVANT.contains(&name)
        || (name.starts_with("AWS_") && !name.starts_with("AWS_ECR_") && !IRRELEVANT.contains(&name))
}
