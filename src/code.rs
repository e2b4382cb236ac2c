//! Defines the stable codes of problems, each with its usual cause and fix.
//!
//! Each failure ends with its code, in the answer and in the log; `doctor` prints them with its findings and in JSON, and the manual page lists them, so that scripts, runbooks and searches
//! do not depend on the wording of a message. A published code is never removed. The prefix `E` marks a problem that makes a
//! pull fail, `W` one that does not.

use std::fmt;

macro_rules! codes {
    ($($variant:ident $name:literal $cause:literal $fix:literal)*) => {
        /// The kind of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "the table has their causes")]
        pub enum Code { $($variant),* }

        impl Code {
            /// Every code, in the order of the manual.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code as printed.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The usual cause, as a sentence.
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$variant => $cause),* }
            }

            /// The usual fix, as a sentence.
            pub const fn fix(self) -> &'static str {
                match self { $(Self::$variant => $fix),* }
            }
        }
    };
}

codes! {
    ProgramNotOnPath "E-PROGRAM-NOT-ON-PATH"
        "Clients look for docker-credential-ecr-login on their PATH, and no directory of the PATH has it."
        "Copy the program into a directory of the PATH, e.g. /usr/local/bin."
    ProgramShadowed "W-PROGRAM-SHADOWED"
        "Another program with the same name comes first on the PATH."
        "Change the order of the PATH."
    Sudo "W-SUDO"
        "Under sudo, the helper uses the settings and credentials of another user."
        "Set docker up for that user too, or let the user run docker without sudo."
    SettingsOwner "W-SETTINGS-OWNER"
        "Another user may have put a settings file where this one reads it, e.g. with HOME=/tmp."
        "Set HOME to a directory of this user, or name another file with the variable for it."
    VariableMisspelt "W-VARIABLE-MISSPELT"
        "A variable that begins with AWS_ECR_ resembles a variable of the helper, but is not one, or its value has another effect than it seems to have."
        "Correct the variable, or unset it."
    LogUnused "W-LOG-UNUSED"
        "The file that AWS_ECR_LOG_FILE names cannot be written, so there is no log."
        "Follow the fix in the message, or unset AWS_ECR_LOG_FILE."
    ConfigInvalid "E-CONFIG-INVALID"
        "The helper cannot use its configuration file or one of its variables."
        "Correct the line or the variable that the message names."
    NoClient "W-NO-CLIENT"
        "The helper finds neither docker nor podman on the PATH, and no settings of either."
        "If another program pulls, see its manual about credential helpers."
    ClientConfigInvalid "E-CLIENT-CONFIG-INVALID"
        "A settings file of docker or podman has a syntax error, so the client ignores the file or fails."
        "Correct what the message names."
    ClientConfigUnreadable "E-CLIENT-CONFIG-UNREADABLE"
        "This user may not read a settings file of docker or podman, often after 'sudo docker login'."
        "Give the file or directory that the message names back to the user, or correct the variable that leads to it."
    ClientNotSetUp "E-CLIENT-NOT-SET-UP"
        "The client's settings name no credential helper for the registry."
        "Run setup with the registry."
    ClientOtherHelper "E-CLIENT-OTHER-HELPER"
        "The client's settings name another credential helper for the registry."
        "Run setup --force with the registry, or set the other helper as the fallback."
    ClientPassword "E-CLIENT-PASSWORD"
        "The client uses the password of an earlier login, and calls no helper."
        "Run setup --remove-auths with the registry."
    ClientLeftoverPassword "W-CLIENT-LEFTOVER-PASSWORD"
        "The client's settings still hold the password of an earlier login: an unused secret in a file."
        "Run setup --remove-auths with the registry."
    ClientHelperName "E-CLIENT-HELPER-NAME"
        "The entry names docker-credential-ecr-login; clients put docker-credential- before it and find nothing."
        "Run setup with the registry, or write ecr-login."
    ClientKeyScheme "E-CLIENT-KEY-SCHEME"
        "The entry's key has a scheme or a path; clients look for the bare host."
        "Run setup with the registry, or write the bare host."
    DockerAuthConfig "E-DOCKER-AUTH-CONFIG"
        "DOCKER_AUTH_CONFIG is set; docker 28.3 and later prefer its passwords to a helper."
        "Unset DOCKER_AUTH_CONFIG for docker; set it for the GitLab runner alone."
    HostUnknown "E-HOST-UNKNOWN"
        "The host is not an ECR registry, and no [[registry]] entry names it."
        "Correct the host, e.g. 111122223333.dkr.ecr.us-east-1.amazonaws.com, or add a [[registry]] entry with 'registry'."
    FallbackMissing "E-FALLBACK-MISSING"
        "The helper that 'fallback' names is not on the PATH."
        "Install it, or remove 'fallback' from the configuration."
    AwsFileInvalid "E-AWS-FILE-INVALID"
        "The AWS config or credentials file cannot be read or parsed."
        "Correct the line, the owner or the mode that the message names."
    ProfileMissing "E-PROFILE-MISSING"
        "A setting names a profile that is in neither AWS file."
        "Correct the profile's name, or create it with 'aws configure --profile NAME'."
    ProfileInvalid "E-PROFILE-INVALID"
        "The profile has settings that contradict each other, or that give no credentials."
        "Correct the key that the message names."
    SettingInvalid "E-SETTING-INVALID"
        "A variable or a key of the AWS settings has a value that cannot be used."
        "Correct or unset the setting that the message names."
    SettingPassedOver "W-SETTING-PASSED-OVER"
        "A setting or a line of the AWS settings has no effect, since another one has precedence, or it is no setting."
        "Correct it, or remove it."
    SourceFile "E-SOURCE-FILE"
        "A file with credentials is missing, unreadable or empty, e.g. a web identity token or a sign-in."
        "Check its path, owner and mode, and the program that writes it."
    CredentialsMissing "E-CREDENTIALS-MISSING"
        "No source gave AWS credentials: no keys, no profile, no container or instance role."
        "Set AWS_PROFILE, run 'aws configure' or 'aws configure sso', or give the machine a role."
    CredentialsExpired "E-CREDENTIALS-EXPIRED"
        "The session token of temporary credentials has expired."
        "Sign in again, or refresh the credentials."
    CredentialsInvalid "E-CREDENTIALS-INVALID"
        "AWS does not know the access key, or the secret key does not match it."
        "Correct the key, and check that it exists in this partition."
    CredentialProcess "E-CREDENTIAL-PROCESS"
        "The credential_process of the profile fails, prints no credentials or does not end."
        "Run the command in a shell with the same environment."
    SsoExpired "E-SSO-EXPIRED"
        "The sign-in through IAM Identity Center has expired, or there is none."
        "Run 'aws sso login --profile NAME'."
    SsoDenied "E-SSO-DENIED"
        "The profile's role does not exist in IAM Identity Center, or is not assigned to this user."
        "Check sso_account_id and sso_role_name, and that the role is assigned to the user."
    LoginExpired "E-LOGIN-EXPIRED"
        "The 'aws login' session has expired, or there is none."
        "Run 'aws login --profile NAME'."
    WebIdentityDenied "E-WEB-IDENTITY-DENIED"
        "STS does not accept the token of the identity provider for the role."
        "Check the role's trust policy and the token's audience."
    IdentityTokenMissing "E-IDENTITY-TOKEN-MISSING"
        "A setting requires the identity token of a CI job, and the job has none."
        "In GitHub Actions, add permissions: id-token: write; elsewhere, have the CI system set the variable."
    RoleDenied "E-ROLE-DENIED"
        "The caller may not assume the role."
        "Check the role's trust policy, its external id, and the caller's permission for sts:AssumeRole."
    MfaRequired "E-MFA-REQUIRED"
        "The role requires an MFA code, and a credential helper cannot prompt for one."
        "Run login with the registry: it prompts for the code, and pulls then work until the token expires."
    EcrDenied "E-ECR-DENIED"
        "The principal may not request a token from ECR."
        "Allow ecr:GetAuthorizationToken on resource *."
    ClockSkew "E-CLOCK-SKEW"
        "The clock of this machine is wrong, so AWS rejects the signatures."
        "Set the clock: 'timedatectl set-ntp true', or restart a virtual machine that was suspended."
    ClockOff "W-CLOCK-OFF"
        "The clock of this machine is minutes off; if the difference grows, AWS rejects the signatures."
        "Set the clock: 'timedatectl set-ntp true', or restart a virtual machine that was suspended."
    Throttled "E-THROTTLED"
        "AWS limits the rate of this account's requests."
        "Try again later; let jobs share a cache directory."
    RegionDisabled "E-REGION-DISABLED"
        "The region is not enabled for the account."
        "Enable it, or correct the registry's host."
    NoEndpoint "E-NO-ENDPOINT"
        "The region has no endpoint of the requested kind."
        "Check AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT and the endpoint URL."
    EndpointUnreachable "E-ENDPOINT-UNREACHABLE"
        "The helper cannot connect to the service: its name is unknown, or it does not answer."
        "Check the network, HTTPS_PROXY, AWS_ENDPOINT_URL, and a VPC endpoint if there is one."
    Proxy "E-PROXY"
        "The proxy does not connect to the service."
        "Check HTTPS_PROXY and its user and password, or add the host to NO_PROXY."
    TlsUntrusted "E-TLS-UNTRUSTED"
        "The certificate of the service is not trusted."
        "If a proxy or firewall replaces the certificate, name its CA in AWS_CA_BUNDLE."
    TlsFailed "E-TLS-FAILED"
        "The TLS connection with the service fails, e.g. since it demands a client certificate."
        "Check AWS_ENDPOINT_URL, and the proxies and firewalls on the way."
    CaBundle "E-CA-BUNDLE"
        "The file of trusted certificates cannot be used."
        "Correct or unset the setting that the message names."
    Timeout "E-TIMEOUT"
        "AWS did not answer in time."
        "Check the network, or raise AWS_ECR_TIMEOUT."
    AnswerInvalid "E-ANSWER-INVALID"
        "The answer does not come from the AWS service, or cannot be parsed."
        "Check AWS_ENDPOINT_URL, the proxy, and whether a captive portal answers."
    ServiceError "E-SERVICE-ERROR"
        "The AWS service refused the request."
        "Read the service's error in the message; try again."
    SystemLimits "E-SYSTEM-LIMITS"
        "The system refuses threads, processes, open files or memory."
        "Raise the limits: ulimit -n, ulimit -u, ulimit -v, ulimit -d."
    WriteFailed "E-WRITE-FAILED"
        "Standard output or a file cannot be written."
        "Check the space on the disk, and the owner and mode of the file and its directory."
    RequestInvalid "E-REQUEST-INVALID"
        "The request on standard input is not one of the protocol, is too long, or does not end."
        "Check the program that calls the helper."
    HomeMissing "E-HOME-MISSING"
        "There is no home directory to write settings in."
        "Set HOME (USERPROFILE on Windows)."
    RegionMissing "E-REGION-MISSING"
        "No setting names a region, or the named one does not exist."
        "Name one with --region or AWS_REGION."
    Unanswered "E-UNANSWERED"
        "A question has no answer: there is no terminal, or none of the answers could be used."
        "Run the command on a terminal, or pass the answer as an option."
    FallbackFailed "E-FALLBACK-FAILED"
        "The helper that 'fallback' names cannot be run or does not answer."
        "Run it by hand to see why, or remove 'fallback' from the configuration."
    CacheNotCleared "E-CACHE-NOT-CLEARED"
        "A cached token cannot be removed."
        "Follow the fix in the message."
    Internal "E-INTERNAL"
        "The helper has a defect."
        "Please report it, with the line of the message."
    Busy "E-BUSY"
        "Other processes were requesting the same token or renewing the sign-in until the time limit."
        "Try again."
    CacheUnused "W-CACHE-UNUSED"
        "Tokens of this identity are not cached, so every pull asks AWS."
        "Follow the fix in the message; unset AWS_ECR_DISABLE_CACHE if it is set."
    TokenUncacheable "W-TOKEN-UNCACHEABLE"
        "The token was issued expired or without an expiry time, as by emulators."
        "Ignore this with an emulator; with AWS itself, check AWS_ENDPOINT_URL and the clock."
    PrincipalUnknown "W-PRINCIPAL-UNKNOWN"
        "STS did not report the principal; the network may allow connections to ECR alone."
        "Ignore this if tokens are issued."
    RegistryDenied "E-REGISTRY-DENIED"
        "The registry rejects the token."
        "Check the registry's policy, and that the host is the registry itself, not a proxy in front of it."
    RegistryAnswer "E-REGISTRY-ANSWER"
        "The host of the registry does not answer like a registry."
        "Check the spelling of the host, and whether a proxy or a captive portal answers."
    RepositoryMissing "E-REPOSITORY-MISSING"
        "The registry has no repository of this name."
        "Correct the name or the region, or create it with 'aws ecr create-repository'."
    TagMissing "E-TAG-MISSING"
        "The repository has no image with this tag or digest."
        "Correct the tag; 'aws ecr list-images' lists the tags."
    ImageDenied "E-IMAGE-DENIED"
        "The principal may not pull from the repository."
        "Allow ecr:BatchGetImage and ecr:GetDownloadUrlForLayer, in IAM and, for another account, in the repository's policy."
    PullThroughDenied "E-PULL-THROUGH-DENIED"
        "The repository belongs to a pull-through cache, and the principal may not import images into it."
        "Allow ecr:CreateRepository and ecr:BatchImportUpstreamImage, and check the upstream's credentials."
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Code {
    /// The code of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// Whether the service did not answer, so that another request would only take another timeout.
    pub const fn is_of_network(self) -> bool {
        matches!(self, Self::EndpointUnreachable | Self::Proxy | Self::Timeout | Self::TlsFailed | Self::TlsUntrusted)
    }
}
