//! A position in the text of one file, and the line it is on.

/// Reads characters forward; one step back is possible after each step.
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    position: usize,
    line: u32,
    /// Position of the last line break that was read; columns count from here.
    line_start: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, position: 0, line: 1, line_start: 0 }
    }

    pub fn position(&self) -> usize {
        self.position
    }

    pub fn line(&self) -> u32 {
        self.line
    }

    pub fn slice(&self, from: usize) -> &'a [u8] {
        &self.text[from..self.position]
    }

    /// The column of a place in the current line.
    pub fn column(&self, position: usize) -> u32 {
        u32::try_from(position.saturating_sub(self.line_start)).unwrap_or(u32::MAX)
    }

    /// The next character, or `None` at the end. A byte that is not UTF-8 reads as U+FFFD.
    pub fn peek(&self) -> Option<char> {
        self.decode().map(|(character, _)| character)
    }

    pub fn peek_second(&self) -> Option<char> {
        let (_, width) = self.decode()?;
        Cursor { text: self.text, position: self.position + width, line: 0, line_start: 0 }.peek()
    }

    pub fn next(&mut self) -> Option<char> {
        let (character, width) = self.decode()?;
        if character == '\n' {
            self.line += 1;
            self.line_start = self.position;
        }
        self.position += width;
        Some(character)
    }

    /// Reads the next character if it is this one.
    pub fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    pub fn skip_while(&mut self, mut predicate: impl FnMut(char) -> bool) {
        while self.peek().is_some_and(&mut predicate) {
            self.next();
        }
    }

    fn decode(&self) -> Option<(char, usize)> {
        let rest = &self.text[self.position..];
        let first = *rest.first()?;
        if first.is_ascii() {
            return Some((char::from(first), 1));
        }
        for width in 2..=rest.len().min(4) {
            if let Ok(text) = std::str::from_utf8(&rest[..width]) {
                return text.chars().next().map(|character| (character, width));
            }
        }
        Some((char::REPLACEMENT_CHARACTER, 1))
    }
}

pub(super) fn is_blank(character: char) -> bool {
    character == ' ' || character == '\t'
}

pub(super) fn is_line_break(character: char) -> bool {
    character == '\n' || character == '\r'
}

pub(super) fn is_separator(character: char) -> bool {
    character == '=' || character == ':'
}
