//! The rules of fields: each reads one value, and says `None` where the reference has to look at it.

use crate::avro::Cursor;
use crate::json;

// Outside of the years 1 to 9999 are times that no datetime holds.
const FIRST_MICROS: i64 = -62_135_596_800_000_000;
const LAST_MICROS: i64 = 253_402_300_799_999_999;
pub const UUID_CHARACTERS: usize = 36;

/// The bounds of a namespace; see `soma_schemas.limits`.
#[derive(Clone, Copy, Debug)]
pub struct PathBounds {
    pub segments: usize,
    pub segment_characters: usize,
    pub bytes: usize,
}

/// What a field may hold.
#[derive(Clone, Debug)]
pub enum Rule {
    Uuid,
    Tenant,
    Namespace(PathBounds),
    /// A text of at most so many bytes.
    Bytes(usize),
    /// A text of at most so many characters.
    Characters(usize),
    /// A JSON object of at most so many bytes that nests so deep.
    Json(usize, usize),
    /// At most so many texts, each of at most so many characters.
    Texts(usize, usize),
    /// A double of 0 to 1.
    Share,
    /// Finite doubles.
    Doubles(usize),
    /// Finite floats that are not all zero.
    Floats(usize),
    Moment,
    /// A long from zero to below this.
    Below(i64),
    Symbol(Vec<String>),
}

/// What a field holds; places are within the value.
#[derive(Clone, Copy, Debug)]
pub enum Slot {
    Null,
    Text {
        begin: usize,
        end: usize,
    },
    /// Items of an array: where the first begins, and how many there are.
    Items {
        begin: usize,
        count: usize,
    },
    Uuid([u8; 16]),
    Long(i64),
    Double(f64),
    Symbol(usize),
}

impl Rule {
    /// Reads a value that is not null.
    pub fn read(&self, cursor: &mut Cursor) -> Option<Slot> {
        match self {
            Self::Uuid => uuid(cursor.sized()?).map(Slot::Uuid),
            Self::Tenant => text(cursor, is_tenant),
            Self::Namespace(bounds) => text(cursor, |raw| is_namespace(raw, *bounds)),
            Self::Bytes(most) => text(cursor, |raw| raw.len() <= *most && is_storable(raw).is_some()),
            Self::Characters(most) => text(cursor, |raw| is_short(raw, *most)),
            Self::Json(most, depth) => text(cursor, |raw| {
                raw.len() <= *most && str::from_utf8(raw).is_ok_and(|text| json::is_kept_object(text, *depth))
            }),
            Self::Texts(most, characters) => {
                items(cursor, *most, |cursor| is_short(cursor.sized()?, *characters).then_some(()))
            }
            Self::Share => {
                let number = cursor.double()?;
                (0.0..=1.0).contains(&number).then_some(Slot::Double(number))
            }
            Self::Doubles(most) => {
                let found = items(cursor, *most, |cursor| cursor.double()?.is_finite().then_some(()))?;
                matches!(found, Slot::Items { count: 1.., .. }).then_some(found)
            }
            Self::Floats(most) => {
                let mut any = false;
                let found = items(cursor, *most, |cursor| {
                    let number = f32::from_le_bytes(cursor.take(4)?.try_into().ok()?);
                    any |= number != 0.0;
                    number.is_finite().then_some(())
                })?;
                any.then_some(found)
            }
            Self::Moment => {
                let micros = cursor.long()?;
                (FIRST_MICROS..=LAST_MICROS).contains(&micros).then_some(Slot::Long(micros))
            }
            Self::Below(bound) => {
                let number = cursor.long()?;
                (0..*bound).contains(&number).then_some(Slot::Long(number))
            }
            Self::Symbol(names) => {
                let place = cursor.length()?;
                (place < names.len()).then_some(Slot::Symbol(place))
            }
        }
    }
}

fn text(cursor: &mut Cursor, sound: impl Fn(&[u8]) -> bool) -> Option<Slot> {
    let raw = cursor.sized()?;
    let end = cursor.place();
    sound(raw).then_some(Slot::Text { begin: end - raw.len(), end })
}

fn items(cursor: &mut Cursor, most: usize, mut item: impl FnMut(&mut Cursor) -> Option<()>) -> Option<Slot> {
    let mut begin = None;
    let count = cursor.array(most, |cursor| {
        begin.get_or_insert(cursor.place());
        item(cursor)
    })?;
    Some(Slot::Items { begin: begin.unwrap_or(0), count })
}

/// Returns a text that is not empty and that PostgreSQL can hold.
fn is_storable(raw: &[u8]) -> Option<&str> {
    if raw.is_empty() || raw.contains(&0) {
        return None;
    }
    str::from_utf8(raw).ok()
}

fn is_short(raw: &[u8], most: usize) -> bool {
    is_storable(raw).is_some_and(|text| raw.len() <= most || text.chars().count() <= most)
}

fn is_tenant(raw: &[u8]) -> bool {
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=63).contains(&raw.len())
        && edge(&raw[0])
        && raw.iter().all(|byte| edge(byte) || b"._-".contains(byte))
}

fn is_namespace(raw: &[u8], bounds: PathBounds) -> bool {
    raw.len() <= bounds.bytes
        && str::from_utf8(raw).is_ok_and(|path| {
            path.split('/').count() <= bounds.segments
                && path.split('/').all(|segment| is_segment(segment, bounds.segment_characters))
        })
}

fn is_segment(segment: &str, most: usize) -> bool {
    let escapes = segment.matches('%').count();
    let spelled = segment.matches("%25").count() + segment.matches("%2F").count();
    let characters = segment.chars().count() - 2 * spelled;
    // Escapes do not overlap, so each `%` is one of them exactly when there are as many.
    escapes == spelled && (1..=most).contains(&characters) && !segment.contains(char::is_control)
}

/// Returns the 16 bytes of an id in its canonical form, with small letters.
pub fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != UUID_CHARACTERS {
        return None;
    }
    let mut octets = [0; 16];
    let mut digits = 0;
    for (at, byte) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        octets[digits / 2] |= if digits % 2 == 0 { digit << 4 } else { digit };
        digits += 1;
    }
    Some(octets)
}

/// Returns the canonical form of an id.
pub fn uuid_text(octets: [u8; 16]) -> [u8; UUID_CHARACTERS] {
    let mut text = [b'-'; UUID_CHARACTERS];
    let mut at = 0;
    for octet in octets {
        if matches!(at, 8 | 13 | 18 | 23) {
            at += 1;
        }
        text[at] = json::HEX[usize::from(octet >> 4)];
        text[at + 1] = json::HEX[usize::from(octet & 15)];
        at += 2;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: PathBounds = PathBounds { segments: 3, segment_characters: 4, bytes: 14 };

    #[test]
    fn a_tenant_is_what_the_pattern_says() {
        for good in ["a", "0.a_b-", &"x".repeat(63)] {
            assert!(is_tenant(good.as_bytes()), "{good}");
        }
        for bad in ["", ".a", "A", "a b", "č", "a\n", &"x".repeat(64)] {
            assert!(!is_tenant(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_namespace_is_a_path_with_one_spelling() {
        for good in ["a", "a/b/c", "čččč", "%25%2F", "%2525", "%252F", "a\u{2028}"] {
            assert!(is_namespace(good.as_bytes(), BOUNDS), "{good}");
        }
        for bad in [
            "",
            "/",
            "a/",
            "a//b",
            "a/b/c/d",
            "abcde",
            "%",
            "%2",
            "%2f",
            "%%25",
            "%41",
            "a\0",
            "a\u{85}",
            "\u{7f}",
            "%25%25%25%25%25",
            "čččč/čččč",
        ] {
            assert!(!is_namespace(bad.as_bytes(), BOUNDS), "{bad}");
        }
        assert!(!is_namespace(b"\xff", BOUNDS));
    }

    #[test]
    fn an_id_has_one_spelling() {
        let octets = uuid(b"01234567-89ab-cdef-0123-456789abcdef").unwrap();
        assert_eq!(octets[..4], [0x01, 0x23, 0x45, 0x67]);
        assert_eq!(octets[14..], [0xcd, 0xef]);
        assert_eq!(uuid_text(octets), *b"01234567-89ab-cdef-0123-456789abcdef");
        for bad in [
            "01234567-89AB-cdef-0123-456789abcdef",
            "0123456789abcdef0123456789abcdef",
            "01234567-89ab-cdef-0123-456789abcde",
            "01234567-89ab-cdef-0123-456789abcdeg",
            "012345678-9ab-cdef-0123-456789abcdef",
        ] {
            assert_eq!(uuid(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn characters_are_counted_where_bytes_are_too_many() {
        assert!(is_short("čččč".as_bytes(), 4));
        assert!(!is_short("ččččč".as_bytes(), 4));
        assert!(!is_short(b"", 4));
        assert!(!is_short(b"a\0", 4));
        assert!(!is_short(b"\xc4", 4));
        assert!(!is_short(b"\xed\xa0\x80", 4));
    }

    #[test]
    fn numbers_have_bounds() {
        let share = |number: f64| Rule::Share.read(&mut Cursor::new(&number.to_le_bytes(), 0)).is_some();
        assert!(share(0.0) && share(-0.0) && share(1.0));
        assert!(!share(1.000_001) && !share(-5e-324) && !share(f64::NAN));
        let floats = |numbers: &[f32]| {
            let mut bytes = vec![u8::try_from(2 * numbers.len()).unwrap()];
            bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            bytes.push(0);
            Rule::Floats(2).read(&mut Cursor::new(&bytes, 0)).is_some()
        };
        assert!(floats(&[0.0, 1e-45]));
        assert!(!floats(&[]) && !floats(&[0.0, -0.0]) && !floats(&[1.0, f32::INFINITY]));
        assert!(!floats(&[1.0; 3]));
    }
}
