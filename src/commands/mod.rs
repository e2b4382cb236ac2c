//! The commands, a module each.
//!
//! | module | commands |
//! | --- | --- |
//! | [`docker`] | `get`, `store`, `erase`, `list`: the credential helper protocol |
//! | [`bazel`] | `get` in Bazel's protocol |
//! | [`doctor`] | `doctor`: checks everything that a pull depends on |
//! | [`setup`] | `setup`: changes the settings of docker, podman and kubelet |
//! | [`sign_in`] | `login`: a token requested by a person |
//! | [`cached_tokens`] | `logout`, `cache`: cached tokens, removed and listed |
//! | [`get_login_password`] | `get-login-password`: the password alone, as the AWS CLI prints it |
//! | [`export`] | `export`: passwords in files and variables, for programs that call no helper |
//! | [`kubelet`] | `kubelet`: the image credential provider of kubelets |
//! | `client`, `findings` | what doctor and setup know of docker and podman |
//! | [`generate`] | `generate`: manual pages and completions |

pub mod bazel;
pub mod cached_tokens;
mod client;
pub mod docker;
pub mod doctor;
pub mod export;
mod findings;
pub mod generate;
pub mod get_login_password;
pub mod kubelet;
pub mod setup;
pub mod sign_in;
