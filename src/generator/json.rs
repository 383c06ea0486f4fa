//! Writes JSON objects member by member, straight into a buffer. Text is not escaped: the generator's lists hold nothing that needs it.

/// An object being written. Shape: ends with [`Object::close`]; forgetting it leaves the JSON open, which the tests see.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    separator: &'static [u8],
    next: &'static [u8],
}

impl<'a> Object<'a> {
    /// Starts an object.
    pub fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Object { out, separator: b"", next: b"," }
    }

    /// Writes white space between members from here on; no line breaks, so that files of lines stay readable.
    pub fn spaced(&mut self) {
        self.next = b" ,\t ";
    }

    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(self.separator);
        self.separator = self.next;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A member whose value is JSON already.
    pub fn raw(&mut self, name: &str, json: &[u8]) {
        self.name(name);
        self.out.extend_from_slice(json);
    }

    /// A member whose value the closure writes, as JSON.
    pub fn bare(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        value(self.out);
    }

    /// A text member whose content the closure writes.
    pub fn with(&mut self, name: &str, text: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        self.out.push(b'"');
        text(self.out);
        self.out.push(b'"');
    }

    /// A text member.
    pub fn text(&mut self, name: &str, text: &str) {
        self.with(name, |out| out.extend_from_slice(text.as_bytes()));
    }

    /// A list of two texts.
    pub fn list(&mut self, name: &str, first: impl FnOnce(&mut Vec<u8>), second: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        self.out.extend_from_slice(b"[\"");
        first(self.out);
        self.out.extend_from_slice(b"\",\"");
        second(self.out);
        self.out.extend_from_slice(b"\"]");
    }

    /// A whole number.
    pub fn number(&mut self, name: &str, n: i64) {
        self.name(name);
        if n < 0 {
            self.out.push(b'-');
        }
        super::text::push_number(self.out, n.unsigned_abs());
    }

    /// A boolean.
    pub fn flag(&mut self, name: &str, flag: bool) {
        self.raw(name, if flag { b"true" } else { b"false" });
    }

    /// An object inside this one.
    pub fn object(&mut self, name: &str) -> Object<'_> {
        self.name(name);
        Object::open(self.out)
    }

    /// Ends the object.
    pub fn close(self) {
        self.out.push(b'}');
    }
}
