//! Says in which line of the configuration file a value stands, for messages.

use std::path::Path;

use toml::Spanned;

use super::invalid;
use super::values::Text;
use crate::error::Failure;

/// Turns the offset of a value in the text of a file into its line.
pub(super) struct SourceText<'a> {
    path: &'a Path,
    /// The offsets of all line ends. To count them for each value takes noticeable time in a file with many tables.
    line_ends: Vec<usize>,
}

impl<'a> SourceText<'a> {
    pub(super) fn new(text: &str, path: &'a Path) -> Self {
        Self { path, line_ends: text.match_indices('\n').map(|(at, _)| at).collect() }
    }

    /// The line of an offset.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        1 + self.line_ends.partition_point(|end| *end < offset)
    }

    /// The file and the line of a value, as the setting that a message names.
    pub(super) fn setting_of<T>(&self, value: &Spanned<T>) -> String {
        self.setting_at(value.span().start)
    }

    fn setting_at(&self, offset: usize) -> String {
        format!("{}, line {}", self.path.display(), self.line_at(offset))
    }

    /// Parses a value; `None` if the key is absent.
    pub(super) fn parse<T>(
        &self,
        value: Option<&Spanned<Text>>,
        parse: impl FnOnce(&str) -> Option<T>,
        what: &str,
        hint: &str,
    ) -> Result<Option<T>, Failure> {
        let Some(value) = value else { return Ok(None) };
        parse(value.get_ref()).map(Some).ok_or_else(|| self.failure(value, what, hint))
    }

    /// The failure for a value.
    pub(super) fn failure<T>(&self, value: &Spanned<T>, what: &str, hint: &str) -> Failure {
        self.failure_at(value.span().start, what, hint)
    }

    /// The failure for what stands at an offset.
    pub(super) fn failure_at(&self, offset: usize, what: &str, hint: &str) -> Failure {
        invalid(format!("{}: {what}", self.setting_at(offset)), hint)
    }
}
