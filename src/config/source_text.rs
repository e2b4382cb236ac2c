//! Says in which line of the configuration file a value stands, for messages.

use std::path::Path;

use toml::Spanned;

use super::invalid;
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

    /// The line of a value.
    pub(super) fn line_of<T>(&self, value: &Spanned<T>) -> usize {
        self.line_at(value.span().start)
    }

    /// The file and a line, as the setting that a message names.
    pub(super) fn setting_in(&self, line: usize) -> String {
        format!("{}, line {line}", self.path.display())
    }

    /// The failure for a value.
    pub(super) fn failure<T>(&self, value: &Spanned<T>, what: &str, hint: &str) -> Failure {
        self.failure_at(value.span().start, what, hint)
    }

    /// The failure for what stands at an offset.
    pub(super) fn failure_at(&self, offset: usize, what: &str, hint: &str) -> Failure {
        invalid(format!("{}: {what}", self.setting_in(self.line_at(offset))), hint)
    }
}
