//! What every kind of source says about itself.

use super::super::observations::Observations;

/// A kind of source.
pub trait Kind {
    /// Describes it as the object of a sentence.
    fn describe(&self) -> String;

    /// Adds what a later `get` must find unchanged, as it was read or as it is now, or why nothing proves it.
    fn observe(&self, observations: &mut Observations<'_>);

    /// Whether it reads files itself when it is asked. Then the observations prove something only if nobody touched the files from
    /// before it was asked to after it.
    fn reads_itself(&self) -> bool {
        false
    }

    /// Whether it may change its own file when it is asked, so that the settings have to be read again.
    fn renews_itself(&self) -> bool {
        false
    }

    /// Whether it may give the same credentials again under other settings, so that a token counts for them too.
    fn may_give_same_credentials(&self) -> bool {
        true
    }

    /// Whether it may wait for a person.
    fn may_ask_person(&self) -> bool {
        false
    }

    /// Whether it is a sign-in that expires soon and can be renewed.
    fn needs_renewal(&self) -> bool {
        false
    }

    /// The services that it asks, by their ids in the SDKs.
    fn services(&self) -> &'static [&'static str] {
        &[]
    }

    /// The role whose credentials it gives, where the settings name it and messages may.
    fn role_arn(&self) -> Option<&str> {
        None
    }

    /// The command of the AWS CLI that signs in, and its profile.
    fn sign_in_command(&self) -> Option<(&'static str, &str)> {
        None
    }
}
