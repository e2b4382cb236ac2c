//! The variables that docker, terminals, shells and CI systems make up for each run.
//!
//! A `credential_process` gets the whole environment, so all of it counts, except these: they differ from one run, window or job
//! to the next, and say nothing about who runs it. Tokens that such systems set are not among them, nor are the sockets of
//! agents that hold keys.

/// By the program that sets them.
const LISTED: &[&[&str]] = &[
    // Shells.
    &["_", "PWD", "OLDPWD", "SHLVL", "COLUMNS", "LINES"],
    // docker, for its plugins, and what it traces with.
    &[
        "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND",
        "DOCKER_CLI_PLUGIN_SOCKET",
        "DOCKER_CLI_PLUGIN_USE_DIAL_STDIO",
        "TRACEPARENT",
        "TRACESTATE",
    ],
    // Terminals and their multiplexers.
    &[
        "ALACRITTY_LOG",
        "ALACRITTY_SOCKET",
        "ALACRITTY_WINDOW_ID",
        "GNOME_TERMINAL_SCREEN",
        "GNOME_TERMINAL_SERVICE",
        "GPG_TTY",
        "ITERM_SESSION_ID",
        "KITTY_PID",
        "KITTY_WINDOW_ID",
        "KONSOLE_DBUS_SESSION",
        "KONSOLE_DBUS_WINDOW",
        "SHELL_SESSION_ID",
        "STY",
        "TERM_SESSION_ID",
        "TILIX_ID",
        "TMUX",
        "TMUX_PANE",
        "VSCODE_GIT_IPC_HANDLE",
        "VSCODE_IPC_HOOK_CLI",
        "WEZTERM_PANE",
        "WEZTERM_UNIX_SOCKET",
        "WINDOW",
        "WINDOWID",
        "WT_SESSION",
        "ZELLIJ_PANE_ID",
        "ZELLIJ_SESSION_NAME",
    ],
    // Logins, desktops and systemd.
    &[
        "DESKTOP_STARTUP_ID",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "SSH_CLIENT",
        "SSH_CONNECTION",
        "SSH_TTY",
        "SYSTEMD_EXEC_PID",
        "XDG_ACTIVATION_TOKEN",
        "XDG_SESSION_ID",
    ],
    // GitHub Actions.
    &[
        "GITHUB_ACTION",
        "GITHUB_ENV",
        "GITHUB_OUTPUT",
        "GITHUB_PATH",
        "GITHUB_RUN_ATTEMPT",
        "GITHUB_RUN_ID",
        "GITHUB_RUN_NUMBER",
        "GITHUB_STATE",
        "GITHUB_STEP_SUMMARY",
    ],
    // GitLab.
    &[
        "CI_JOB_ID",
        "CI_JOB_STARTED_AT",
        "CI_JOB_URL",
        "CI_PIPELINE_CREATED_AT",
        "CI_PIPELINE_ID",
        "CI_PIPELINE_IID",
        "CI_PIPELINE_URL",
    ],
    // Jenkins.
    &[
        "BUILD_DISPLAY_NAME",
        "BUILD_ID",
        "BUILD_NUMBER",
        "BUILD_TAG",
        "BUILD_URL",
        "EXECUTOR_NUMBER",
        "HUDSON_COOKIE",
        "HUDSON_SERVER_COOKIE",
        "JENKINS_NODE_COOKIE",
        "JENKINS_SERVER_COOKIE",
        "RUN_ARTIFACTS_DISPLAY_URL",
        "RUN_CHANGES_DISPLAY_URL",
        "RUN_DISPLAY_URL",
        "RUN_TESTS_DISPLAY_URL",
    ],
    // Buildkite, CircleCI, Azure Pipelines, AWS CodeBuild.
    &[
        "BUILDKITE_BUILD_ID",
        "BUILDKITE_BUILD_NUMBER",
        "BUILDKITE_BUILD_URL",
        "BUILDKITE_JOB_ID",
        "CIRCLE_BUILD_NUM",
        "CIRCLE_BUILD_URL",
        "CIRCLE_WORKFLOW_ID",
        "CIRCLE_WORKFLOW_JOB_ID",
        "BUILD_BUILDID",
        "BUILD_BUILDNUMBER",
        "BUILD_BUILDURI",
        "SYSTEM_JOBID",
        "SYSTEM_TIMELINEID",
        "CODEBUILD_BUILD_ARN",
        "CODEBUILD_BUILD_ID",
        "CODEBUILD_BUILD_NUMBER",
        "CODEBUILD_LOG_PATH",
        "CODEBUILD_START_TIME",
    ],
];

/// Whether a variable of this name is made up for each run.
pub(super) fn is_listed(name: &str) -> bool {
    LISTED.iter().any(|names| names.contains(&name))
}
