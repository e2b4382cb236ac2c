//! Stable codes for what can be wrong, each with its usual cause and fix.
//!
//! `doctor` shows them beside its findings and in JSON, and the manual page lists them, so that scripts, runbooks and searches
//! have something to hold on to that outlives the wording of a message. A code that is published stays. `E` stands for what
//! fails a pull, `W` for what does not.

use std::fmt;

macro_rules! codes {
    ($($variant:ident $name:literal $cause:literal $fix:literal)*) => {
        /// What is wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the table has their causes")]
        pub enum Code { $($variant),* }

        impl Code {
            /// Every code, in the order of the manual.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code as it is shown.
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
        "Clients look for docker-credential-ecr-login on their PATH, and it is in none of its directories."
        "Copy the program into a directory of the PATH, e.g. /usr/local/bin."
    ProgramShadowed "W-PROGRAM-SHADOWED"
        "Another program of the same name comes first on the PATH."
        "Remove the other one, or change the order of the PATH."
    Sudo "W-SUDO"
        "Under sudo, settings and credentials are those of root."
        "Let the user run docker without sudo, or set docker up for root too."
    VariableMisspelt "W-VARIABLE-MISSPELT"
        "A variable begins with AWS_ECR_ and resembles one of this program, but is none."
        "Correct its name."
    ConfigInvalid "E-CONFIG-INVALID"
        "The configuration file of this program, or one of its variables, cannot be used."
        "Correct the line or the variable that the message names."
    NoClient "W-NO-CLIENT"
        "Neither docker nor podman is on the PATH, and neither has settings."
        "If another program pulls, see its manual for credential helpers."
    ClientConfigInvalid "E-CLIENT-CONFIG-INVALID"
        "A settings file of docker or podman cannot be parsed, so the client ignores it or stops."
        "Correct the file at the place that the message names, or remove it."
    ClientConfigUnreadable "E-CLIENT-CONFIG-UNREADABLE"
        "This user may not read a settings file of docker or podman, often after 'sudo docker login'."
        "Give the file back to the user: sudo chown."
    ClientNotSetUp "E-CLIENT-NOT-SET-UP"
        "The client's settings name no credential helper for the registry."
        "Run setup with the registry."
    ClientOtherHelper "E-CLIENT-OTHER-HELPER"
        "The client's settings name another credential helper for the registry."
        "Run setup --force with the registry, or set the other helper as the fallback."
    ClientPassword "E-CLIENT-PASSWORD"
        "The client uses a password that an earlier login left, and asks no helper."
        "Run setup --remove-auths with the registry."
    ClientLeftoverPassword "W-CLIENT-LEFTOVER-PASSWORD"
        "An earlier login left a password beside the entry for the helper; it is not used, and it is a secret in a file."
        "Run setup --remove-auths with the registry."
    ClientHelperName "E-CLIENT-HELPER-NAME"
        "The entry names docker-credential-ecr-login; clients put docker-credential- before it and find nothing."
        "Run setup with the registry, or write ecr-login."
    ClientKeyScheme "E-CLIENT-KEY-SCHEME"
        "The entry's key has a scheme or a path; clients look for the bare host."
        "Run setup with the registry, or write the bare host."
    DockerAuthConfig "E-DOCKER-AUTH-CONFIG"
        "DOCKER_AUTH_CONFIG is set; docker from 28.3 on takes passwords from it before it asks a helper."
        "Unset DOCKER_AUTH_CONFIG for docker."
    HostUnknown "E-HOST-UNKNOWN"
        "The host is not an ECR registry, and no [[registry]] entry names it."
        "Correct the host, or add a [[registry]] entry with 'registry' for a custom domain."
    FallbackMissing "E-FALLBACK-MISSING"
        "The helper that 'fallback' names is not on the PATH."
        "Install it, or take 'fallback' out of the configuration."
    AwsFileInvalid "E-AWS-FILE-INVALID"
        "The AWS config or credentials file cannot be read or parsed."
        "Correct the line, the owner or the mode that the message names."
    ProfileMissing "E-PROFILE-MISSING"
        "A setting names a profile that is in neither AWS file."
        "Correct the profile's name, or create it with 'aws configure --profile NAME'."
    ProfileInvalid "E-PROFILE-INVALID"
        "The profile holds settings that contradict each other, or that no credentials follow from."
        "Correct the key that the message names."
    SettingInvalid "E-SETTING-INVALID"
        "A variable or a key of the AWS settings has a value that cannot be used."
        "Correct or unset what the message names."
    SourceFile "E-SOURCE-FILE"
        "A file that the credentials come from is missing, unreadable or empty: a web identity token, a sign-in."
        "Check its path, owner and mode, and what writes it."
    CredentialsMissing "E-CREDENTIALS-MISSING"
        "No source gave AWS credentials: no keys, no profile, no container or instance role."
        "Set AWS_PROFILE, run 'aws configure' or 'aws configure sso', or give the machine a role."
    CredentialsExpired "E-CREDENTIALS-EXPIRED"
        "The session token of temporary credentials has expired."
        "Sign in again, or refresh what sets them."
    CredentialsInvalid "E-CREDENTIALS-INVALID"
        "AWS does not know the access key, or the secret key does not belong to it."
        "Correct the key, and check that it exists in this partition."
    CredentialProcess "E-CREDENTIAL-PROCESS"
        "The credential_process of the profile fails, prints no credentials or does not end."
        "Run it by hand in the same environment."
    SsoExpired "E-SSO-EXPIRED"
        "The sign-in through IAM Identity Center has expired, or there is none."
        "Run 'aws sso login --profile NAME'."
    SsoDenied "E-SSO-DENIED"
        "IAM Identity Center gives the profile's role to nobody, or not to this user."
        "Check sso_account_id and sso_role_name, and that the role is assigned to the user."
    LoginExpired "E-LOGIN-EXPIRED"
        "The 'aws login' session has expired, or there is none."
        "Run 'aws login --profile NAME'."
    WebIdentityDenied "E-WEB-IDENTITY-DENIED"
        "STS does not accept the token of the identity provider for the role."
        "Check the role's trust policy and the token's audience."
    IdentityTokenMissing "E-IDENTITY-TOKEN-MISSING"
        "A role is to be assumed with the identity token of a CI job, and the job has none."
        "In GitHub Actions add permissions: id-token: write; elsewhere have the CI system set the variable."
    RoleDenied "E-ROLE-DENIED"
        "The caller may not assume the role."
        "Check the role's trust policy, its external id, and the caller's permission for sts:AssumeRole."
    MfaRequired "E-MFA-REQUIRED"
        "The role wants an MFA code, and a credential helper cannot ask for one."
        "Run login with the registry: it asks for the code, and pulls then work until the token expires."
    EcrDenied "E-ECR-DENIED"
        "The principal may not ask ECR for a token."
        "Allow ecr:GetAuthorizationToken on resource *."
    ClockSkew "E-CLOCK-SKEW"
        "AWS refuses signatures that are made with a clock that is wrong."
        "Set the clock: timedatectl set-ntp true."
    ClockOff "W-CLOCK-OFF"
        "The clock differs from AWS's by minutes; soon AWS will refuse signatures."
        "Set the clock: timedatectl set-ntp true."
    Throttled "E-THROTTLED"
        "AWS limits the rate of this account's requests."
        "Try again later; let jobs share a cache directory."
    RegionDisabled "E-REGION-DISABLED"
        "The region is not enabled for the account."
        "Enable it, or correct the registry's host."
    NoEndpoint "E-NO-ENDPOINT"
        "There is no endpoint of the wanted kind in the region."
        "Check AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT and the endpoint URL."
    EndpointUnreachable "E-ENDPOINT-UNREACHABLE"
        "No connection to the service: its name is unknown, or nothing answers."
        "Check the network, HTTPS_PROXY, AWS_ENDPOINT_URL, and a VPC endpoint if there is one."
    Proxy "E-PROXY"
        "The proxy does not connect to the service."
        "Check HTTPS_PROXY and its user and password, or add the host to NO_PROXY."
    TlsUntrusted "E-TLS-UNTRUSTED"
        "The certificate of the service is not trusted."
        "If a proxy or firewall signs for it, name its CA in AWS_CA_BUNDLE."
    TlsFailed "E-TLS-FAILED"
        "No TLS connection to the service."
        "Check AWS_ENDPOINT_URL and what lies between."
    CaBundle "E-CA-BUNDLE"
        "The file of trusted certificates cannot be used."
        "Correct or unset the setting that the message names."
    Timeout "E-TIMEOUT"
        "AWS did not answer in time."
        "Check the network, or raise AWS_ECR_TIMEOUT."
    AnswerInvalid "E-ANSWER-INVALID"
        "What answered is not the AWS service, or its answer cannot be read."
        "Check AWS_ENDPOINT_URL, the proxy, a captive portal."
    ServiceError "E-SERVICE-ERROR"
        "The AWS service refused the request."
        "See its own words in the message; try again."
    SystemLimits "E-SYSTEM-LIMITS"
        "The system refuses threads, processes or open files."
        "Raise the limits: ulimit -n, ulimit -u."
    Busy "E-BUSY"
        "Other processes kept asking for the same token, or renewing the sign-in, all the time."
        "Try again."
    CacheUnused "W-CACHE-UNUSED"
        "Tokens of this identity are not cached, so every pull asks AWS."
        "Correct what the message names; unset AWS_ECR_DISABLE_CACHE."
    TokenUncacheable "W-TOKEN-UNCACHEABLE"
        "The token came expired or without an expiry, as those of emulators do."
        "Nothing with an emulator; AWS itself should not do that."
    PrincipalUnknown "W-PRINCIPAL-UNKNOWN"
        "STS did not say who the principal is; a network may let through ECR alone."
        "Nothing, if tokens are given."
    RegistryDenied "E-REGISTRY-DENIED"
        "The registry refuses the token."
        "Check that the host is the registry itself, and the registry's policy."
    RegistryAnswer "E-REGISTRY-ANSWER"
        "The registry's host answers with something else than a registry."
        "Check what answers there: a proxy, a captive portal, the host's spelling."
    RepositoryMissing "E-REPOSITORY-MISSING"
        "The registry has no repository of this name."
        "Correct the name or the region, or create it with 'aws ecr create-repository'."
    TagMissing "E-TAG-MISSING"
        "The repository has no image with this tag or digest."
        "Correct the tag; 'aws ecr list-images' lists them."
    ImageDenied "E-IMAGE-DENIED"
        "The principal may not pull from the repository."
        "Allow ecr:BatchGetImage and ecr:GetDownloadUrlForLayer, in IAM and in the repository's policy."
    PullThroughDenied "E-PULL-THROUGH-DENIED"
        "The repository belongs to a pull-through cache, and the principal may not have it filled."
        "Allow ecr:CreateRepository and ecr:BatchImportUpstreamImage, or check the upstream's credentials."
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

    /// Whether the service did not answer, so that to ask it again would only mean to wait again.
    pub const fn is_of_network(self) -> bool {
        matches!(self, Self::EndpointUnreachable | Self::Proxy | Self::Timeout | Self::TlsFailed | Self::TlsUntrusted)
    }
}
