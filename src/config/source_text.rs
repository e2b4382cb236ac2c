//! Says in which line of the configuration file a value stands, for messages.

use std::path::Path;

use toml::Spanned;

use super::invalid;
use super::values::Text;
use crate::error::Failure;

/// The text of a file, which turns the offset of a value into its line.
pub(super) struct SourceText<'a> {
    text: &'a str,
    path: &'a Path,
    /// A position whose line is known. Lines are counted from here: to count each from the start takes noticeable time
    /// in a file with many tables.
    offset: usize,
    line: usize,
}

impl<'a> SourceText<'a> {
    pub(super) fn new(text: &'a str, path: &'a Path) -> Self {
        Self { text, path, offset: 0, line: 1 }
    }

    /// Moves the known position to `offset`.
    pub(super) fn advance_to(&mut self, offset: usize) {
        (self.line, self.offset) = (self.line_at(offset), offset);
    }

    /// The line of an offset behind the known position.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        let between = self.text.get(self.offset..offset).unwrap_or_default();
        self.line + between.matches('\n').count()
    }

    /// The line of the known position: that of the current table.
    pub(super) fn line(&self) -> usize {
        self.line
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
