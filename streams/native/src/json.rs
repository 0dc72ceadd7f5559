//! Checks payloads, and writes content, as the reference does with Python's `json` and with orjson.

use std::fmt::Write;

/// So many characters without an exponent have at most 15 digits and a point, which every double tells apart.
const CERTAIN_CHARACTERS: usize = 16;
pub const HEX: &[u8; 16] = b"0123456789abcdef";
const LONGEST_KEPT: usize = 32;
const LONGEST_SURE_INTEGER: usize = 300;

/// Says whether a text is a JSON object of at most this depth that is kept as it is written.
pub fn is_kept_object(text: &str, depth: usize) -> bool {
    text == "{}" || Check { text: text.as_bytes(), at: 0 }.object(depth).is_some()
}

struct Check<'a> {
    text: &'a [u8],
    at: usize,
}

impl Check<'_> {
    fn object(mut self, depth: usize) -> Option<()> {
        self.spaces();
        if self.next()? != b'{' {
            return None;
        }
        self.members(depth.checked_sub(1)?)?;
        self.spaces();
        (self.at == self.text.len()).then_some(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn want(&mut self, wanted: &[u8]) -> Option<()> {
        self.text.get(self.at..)?.starts_with(wanted).then(|| self.at += wanted.len())
    }

    fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'{' => {
                self.at += 1;
                self.members(depth.checked_sub(1)?)
            }
            b'[' => {
                self.at += 1;
                self.items(depth.checked_sub(1)?)
            }
            b'"' => {
                self.at += 1;
                self.string()
            }
            b't' => self.want(b"true"),
            b'f' => self.want(b"false"),
            b'n' => self.want(b"null"),
            _ => self.number(),
        }
    }

    fn members(&mut self, depth: usize) -> Option<()> {
        self.spaces();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.spaces();
            self.want(b"\"")?;
            self.string()?;
            self.spaces();
            self.want(b":")?;
            self.spaces();
            self.value(depth)?;
            self.spaces();
            match self.next()? {
                b',' => (),
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    fn items(&mut self, depth: usize) -> Option<()> {
        self.spaces();
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.spaces();
            self.value(depth)?;
            self.spaces();
            match self.next()? {
                b',' => (),
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Passes over a string after its first quote: without a NUL or half a surrogate pair.
    fn string(&mut self) -> Option<()> {
        loop {
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => match self.next()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => (),
                    b'u' => match self.unit()? {
                        0 | 0xdc00..=0xdfff => return None,
                        0xd800..=0xdbff => {
                            self.want(b"\\u")?;
                            matches!(self.unit()?, 0xdc00..=0xdfff).then_some(())?;
                        }
                        _ => (),
                    },
                    _ => return None,
                },
                0..=0x1f => return None,
                _ => (),
            }
        }
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    }

    fn digits(&mut self) -> usize {
        let begin = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - begin
    }

    fn number(&mut self) -> Option<()> {
        let begin = self.at;
        if self.peek()? == b'-' {
            self.at += 1;
        }
        let zero = self.peek()? == b'0';
        let whole = self.digits();
        if whole == 0 || (zero && whole > 1) {
            return None;
        }
        let (mut integer, mut exponent) = (true, false);
        if self.peek() == Some(b'.') {
            self.at += 1;
            integer = false;
            (self.digits() > 0).then_some(())?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            (integer, exponent) = (false, true);
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            (self.digits() > 0).then_some(())?;
        }
        let literal = &self.text[begin..self.at];
        let kept = if integer {
            whole <= LONGEST_SURE_INTEGER
        } else {
            (literal.len() <= CERTAIN_CHARACTERS && !exponent) || is_kept(literal)
        };
        kept.then_some(())
    }
}

/// Says whether a literal has the very value that the double nearest to it is written with.
fn is_kept(literal: &[u8]) -> bool {
    if literal.len() > LONGEST_KEPT {
        return false;
    }
    let Ok(text) = str::from_utf8(literal) else {
        return false;
    };
    text.parse().is_ok_and(|value: f64| {
        value.is_finite()
            && value != 0.0
            && decimal(text)
                .is_some_and(|exact| Some(exact) == decimal(ryu::Buffer::new().format_finite(value)))
    })
}

/// Returns the digits of a number without zeros at either end, and the power of ten of the last.
fn decimal(literal: &str) -> Option<(String, i64)> {
    let (number, exponent) = literal.split_once(['e', 'E']).unwrap_or((literal, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let short = digits.trim_end_matches('0');
    let cut = i64::try_from(digits.len() - short.len()).ok()?;
    let power = exponent.parse::<i64>().ok()? - i64::try_from(fraction.len()).ok()? + cut;
    Some((short.trim_start_matches('0').to_owned(), power))
}

/// Writes a string with its quotes.
pub fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut begin = 0;
    for (at, byte) in text.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            8 => b'b',
            12 => b'f',
            0..=0x1f => 0,
            _ => continue,
        };
        out.extend_from_slice(&text[begin..at]);
        if short == 0 {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        } else {
            out.extend_from_slice(&[b'\\', short]);
        }
        begin = at + 1;
    }
    out.extend_from_slice(&text[begin..]);
    out.push(b'"');
}

/// Writes a finite number.
pub fn write_double(out: &mut Vec<u8>, number: f64) {
    // As orjson does but for a sign. The standard library ends otherwise where two shortest forms are as near.
    let mut buffer = ryu::Buffer::new();
    let short = buffer.format_finite(number);
    match short.split_once('e') {
        Some((digits, power)) if !power.starts_with('-') => {
            out.extend_from_slice(digits.as_bytes());
            out.extend_from_slice(b"e+");
            out.extend_from_slice(power.as_bytes());
        }
        _ => out.extend_from_slice(short.as_bytes()),
    }
}

/// Writes microseconds since 1970 within the years 1 to 9999 as a time in UTC.
pub fn write_moment(out: &mut Vec<u8>, micros: i64) {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let _ = write!(Text(out), "\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if fraction != 0 {
        let _ = write!(Text(out), ".{fraction:06}");
    }
    out.extend_from_slice(b"+00:00\"");
}

/// Returns year, month and day of a number of days since 1970, by the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years begin in March here, so that a leap day is the last one.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

struct Text<'a>(&'a mut Vec<u8>);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_kept_as_they_are() {
        for text in [
            "{}",
            " {\"a\" : [ 1 , -0.5, true,false,null,\"\\u00e9\\ud83d\\ude00\\n\"] } ",
            "{\"a\":1e5,\"b\":1E+5,\"c\":100000.0,\"d\":5e-324,\"e\":1.7976931348623157e308}",
            "{\"a\":9007199254740993,\"b\":0.30000000000000004,\"c\":{}}",
        ] {
            assert!(is_kept_object(text, 64), "{text}");
        }
    }

    #[test]
    fn everything_else_is_looked_at() {
        for text in [
            "",
            "[]",
            "null",
            "{",
            "{}x",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":[1,]}",
            "{\"a\":01}",
            "{\"a\":-}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":+1}",
            "{\"a\":NaN}",
            "{\"a\":1e999}",
            "{\"a\":1e-999}",
            "{\"a\":0e5}",
            "{\"a\":1e}",
            "{\"a\":1e99999999999999999999}",
            "{\"a\":9007199254740993.0}",
            "{\"a\":0.10000000000000000555}",
            "{\"a\":\"\\u0000\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\ud800\\n\"}",
            "{\"a\":\"\\udc00\"}",
            "{\"a\":\"\\u12\"}",
            "{\"a\":\"\\ud800\\u0041\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\t\"}",
            "{\"a\":\"",
            "{\"a\":tru}",
            "\u{feff}{}",
            "{'a':1}",
        ] {
            assert!(!is_kept_object(text, 64), "{text}");
        }
    }

    #[test]
    fn of_two_shortest_forms_the_even_one_is_kept() {
        assert!(is_kept_object("{\"a\":0.5000076293945312}", 64));
        assert!(!is_kept_object("{\"a\":0.5000076293945313}", 64));
        let mut out = Vec::new();
        write_double(&mut out, 0.500_007_629_394_531_2);
        assert_eq!(out, b"0.5000076293945312");
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(is_kept_object(&nested(64), 64));
        assert!(!is_kept_object(&nested(65), 64));
        assert!(!is_kept_object(&"{\"a\":".repeat(100_000), 64));
    }

    #[test]
    fn times_are_written_with_their_offset() {
        let written = |micros| {
            let mut out = Vec::new();
            write_moment(&mut out, micros);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(0), "\"1970-01-01T00:00:00+00:00\"");
        assert_eq!(written(-1), "\"1969-12-31T23:59:59.999999+00:00\"");
        assert_eq!(written(-62_135_596_800_000_000), "\"0001-01-01T00:00:00+00:00\"");
        assert_eq!(written(253_402_300_799_999_999), "\"9999-12-31T23:59:59.999999+00:00\"");
        assert_eq!(written(1_709_164_800_000_001), "\"2024-02-29T00:00:00.000001+00:00\"");
    }
}
