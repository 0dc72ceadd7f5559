//! Takes Avro's binary form apart, and makes it: numbers, lengths, and what is passed over.
//!
//! `None` means: somebody else has to look at it. Forms that are allowed and rare, such as an array in several
//! blocks, are among that.

/// How many items of unknown fields are passed over in one value; the reference bounds its reads.
pub const MOST_SKIPPED: u32 = 256;

/// Where a reader is in a value.
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub fn place(&self) -> usize {
        self.at
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// Reads an `int` or a `long`.
    pub fn long(&mut self) -> Option<i64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                return None;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        None
    }

    pub fn length(&mut self) -> Option<usize> {
        usize::try_from(self.long()?).ok()
    }

    /// Reads a string or bytes.
    pub fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    pub fn double(&mut self) -> Option<f64> {
        Some(f64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// Reads an array whose items are all in one block, each with `item`, and returns how many they are.
    pub fn array(&mut self, most: usize, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<usize> {
        let count = self.length()?;
        if count > most {
            return None;
        }
        for _ in 0..count {
            item(self)?;
        }
        (count == 0 || self.long()? == 0).then_some(count)
    }
}

/// Appends an `int` or a `long`.
pub fn write_long(out: &mut Vec<u8>, number: i64) {
    let mut left = (number << 1 ^ number >> 63).cast_unsigned();
    while left >= 0x80 {
        out.push(left.to_le_bytes()[0] | 0x80);
        left >>= 7;
    }
    out.push(left.to_le_bytes()[0]);
}

/// Appends a string or bytes.
pub fn write_sized(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    write_length(out, bytes.len())?;
    out.extend_from_slice(bytes);
    Some(())
}

/// Appends how long something is.
pub fn write_length(out: &mut Vec<u8>, length: usize) -> Option<()> {
    write_long(out, i64::try_from(length).ok()?);
    Some(())
}

/// A type of which nothing is wanted.
#[derive(Clone, Debug)]
pub enum Skipped {
    Fixed(usize),
    Long,
    Sized,
    Array(Box<Skipped>),
    Map(Box<Skipped>),
    Union(Vec<Skipped>),
    Record(Vec<Skipped>),
}

impl Skipped {
    /// Passes over one value, for as many items as are left.
    pub fn pass(&self, cursor: &mut Cursor, left: &mut u32) -> Option<()> {
        *left = left.checked_sub(1)?;
        match self {
            Self::Fixed(size) => cursor.take(*size).map(drop),
            Self::Long => cursor.long().map(drop),
            Self::Sized => cursor.sized().map(drop),
            Self::Array(item) => cursor.array(usize::MAX, |cursor| item.pass(cursor, left)).map(drop),
            Self::Map(item) => cursor
                .array(usize::MAX, |cursor| {
                    cursor.sized()?;
                    item.pass(cursor, left)
                })
                .map(drop),
            Self::Union(branches) => {
                let branch = cursor.length()?;
                branches.get(branch)?.pass(cursor, left)
            }
            Self::Record(fields) => fields.iter().try_for_each(|field| field.pass(cursor, left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(bytes: &[u8]) -> Option<i64> {
        Cursor::new(bytes, 0).long()
    }

    #[test]
    fn numbers_are_read_up_to_their_64_bits() {
        assert_eq!(long(&[0]), Some(0));
        assert_eq!(long(&[1]), Some(-1));
        assert_eq!(long(&[0x80, 1]), Some(64));
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(long(&most), Some(i64::MIN));
        let beyond = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert_eq!(long(&beyond), None);
        assert_eq!(long(&[0x80; 11]), None);
        assert_eq!(long(&[0x80]), None);
    }

    #[test]
    fn a_number_that_was_written_is_read_again() {
        for number in [0, -1, 63, 64, -64, -65, 8191, 8192, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            write_long(&mut out, number);
            assert_eq!(long(&out), Some(number));
        }
    }

    #[test]
    fn nothing_is_taken_beyond_the_end() {
        assert_eq!(Cursor::new(&[6, b'a', b'b'], 0).sized(), None);
        assert_eq!(Cursor::new(&[1, b'a'], 0).sized(), None);
        assert_eq!(Cursor::new(&[4, b'a', b'b'], 0).sized(), Some(&b"ab"[..]));
        assert!(Cursor::new(&[0], 1).take(usize::MAX).is_none());
    }

    #[test]
    fn an_array_is_one_block() {
        let mut items = 0;
        let mut one = |cursor: &mut Cursor| {
            items += 1;
            cursor.long().map(drop)
        };
        assert_eq!(Cursor::new(&[4, 0, 2, 0], 0).array(2, &mut one), Some(2));
        assert_eq!(Cursor::new(&[4, 0, 2, 2, 0, 0], 0).array(9, &mut one), None);
        assert_eq!(Cursor::new(&[3, 4, 0, 2, 0], 0).array(9, &mut one), None);
        assert_eq!(Cursor::new(&[4, 0, 2, 0], 0).array(1, &mut one), None);
        assert_eq!(Cursor::new(&[0], 0).array(0, &mut one), Some(0));
        assert_eq!(items, 4);
    }

    #[test]
    fn what_is_unknown_is_passed_over_within_a_bound() {
        let array = Skipped::Array(Box::new(Skipped::Record(vec![
            Skipped::Sized,
            Skipped::Union(vec![Skipped::Fixed(0), Skipped::Long]),
        ])));
        let bytes = [4, 2, b'a', 0, 0, 2, 4, 0];
        let pass = |left: u32| {
            let mut cursor = Cursor::new(&bytes, 0);
            let mut left = left;
            array.pass(&mut cursor, &mut left).map(|()| cursor.place())
        };
        assert_eq!(pass(9), Some(bytes.len()));
        assert_eq!(pass(8), None);
    }
}
