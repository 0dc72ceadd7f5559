//! Writes rows as PostgreSQL takes them in binary: composites, one after the other.

use crate::json;
use crate::record::Field;
use crate::rules::{Rule, Slot};

/// PostgreSQL counts microseconds from 2000, Avro from 1970.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const TEXT_OID: u32 = 25;
const REAL_OID: u32 = 700;
const DOUBLE_OID: u32 = 701;
const UUID_OID: u32 = 2950;

/// Where a column comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A field of the event.
    Field(usize),
    /// The same in every row: its length and its content, as PostgreSQL takes them.
    Constant(Vec<u8>),
    Version,
    LoggedAt,
    Partition,
    /// An array of one field alone, which is an id.
    ArrayOf(usize),
    /// A JSON object of fields: before each value, what stands there.
    Content(Vec<(Vec<u8>, usize)>),
}

/// A row type: the number of each column's type, and where the column comes from.
#[derive(Clone, Debug)]
pub struct Layout(pub Vec<(u32, Source)>);

/// Where an event lies in the log.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub partition: i64,
    pub version: i64,
    pub logged_at_micros: i64,
}

/// An event that is sound.
pub struct Event<'a> {
    pub value: &'a [u8],
    pub slots: &'a [Slot],
}

impl Layout {
    /// Appends the row of an event; `None` when it is too long for PostgreSQL.
    pub fn write(&self, out: &mut Vec<u8>, fields: &[Field], event: &Event, place: Place) -> Option<()> {
        sized(out, |out| {
            out.extend_from_slice(&i32::try_from(self.0.len()).ok()?.to_be_bytes());
            self.0.iter().try_for_each(|(oid, source)| {
                out.extend_from_slice(&oid.to_be_bytes());
                match source {
                    Source::Constant(content) => {
                        out.extend_from_slice(content);
                        Some(())
                    }
                    Source::Partition => fixed(out, &place.partition.to_be_bytes()),
                    Source::Version => fixed(out, &place.version.to_be_bytes()),
                    Source::LoggedAt => fixed(out, &(place.logged_at_micros - EPOCH_MICROS).to_be_bytes()),
                    Source::Field(at) => write_field(out, &fields[*at].rule, event, event.slots[*at]),
                    Source::ArrayOf(at) => sized(out, |out| {
                        head(out, UUID_OID, 1)?;
                        write_field(out, &fields[*at].rule, event, event.slots[*at])
                    }),
                    Source::Content(members) => sized(out, |out| {
                        out.push(1); // jsonb's version
                        for (before, at) in members {
                            out.extend_from_slice(before);
                            write_json(out, &fields[*at].rule, event, event.slots[*at])?;
                        }
                        out.push(b'}');
                        Some(())
                    }),
                }
            })
        })
    }
}

/// Writes what `content` writes, with its length before it.
fn sized(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
    let begin = out.len();
    out.extend_from_slice(&[0; 4]);
    content(out)?;
    let length = i32::try_from(out.len() - begin - 4).ok()?;
    out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
    Some(())
}

fn fixed(out: &mut Vec<u8>, content: &[u8]) -> Option<()> {
    out.extend_from_slice(&i32::try_from(content.len()).ok()?.to_be_bytes());
    out.extend_from_slice(content);
    Some(())
}

/// Begins an array: dimensions, whether nulls, element type, length, lower bound.
fn head(out: &mut Vec<u8>, element: u32, length: usize) -> Option<()> {
    let length = i32::try_from(length).ok()?;
    out.extend_from_slice(&i32::from(length > 0).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&element.to_be_bytes());
    if length > 0 {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&1_i32.to_be_bytes());
    }
    Some(())
}

fn write_field(out: &mut Vec<u8>, rule: &Rule, event: &Event, slot: Slot) -> Option<()> {
    match slot {
        Slot::Null => {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            Some(())
        }
        Slot::Uuid(octets) => fixed(out, &octets),
        Slot::Double(number) => fixed(out, &number.to_be_bytes()),
        Slot::Long(number) => {
            let since = if matches!(rule, Rule::Moment) { EPOCH_MICROS } else { 0 };
            fixed(out, &(number - since).to_be_bytes())
        }
        Slot::Symbol(place) => match rule {
            Rule::Symbol(names) => fixed(out, names[place].as_bytes()),
            _ => None,
        },
        Slot::Text { begin, end } => sized(out, |out| {
            if matches!(rule, Rule::Json(..)) {
                out.push(1); // jsonb's version
            }
            out.extend_from_slice(&event.value[begin..end]);
            Some(())
        }),
        Slot::Items { begin, count } => sized(out, |out| {
            let items = &event.value[begin..];
            match rule {
                Rule::Doubles(_) => {
                    head(out, DOUBLE_OID, count)?;
                    numbers::<8>(out, items, count)
                }
                Rule::Floats(_) => {
                    head(out, REAL_OID, count)?;
                    numbers::<4>(out, items, count)
                }
                _ => {
                    head(out, TEXT_OID, count)?;
                    texts(items, count, |text| fixed(out, text))
                }
            }
        }),
    }
}

fn numbers<const SIZE: usize>(out: &mut Vec<u8>, items: &[u8], count: usize) -> Option<()> {
    items.chunks_exact(SIZE).take(count).try_for_each(|octets| {
        let mut octets: [u8; SIZE] = octets.try_into().ok()?;
        octets.reverse();
        fixed(out, &octets)
    })
}

/// Gives each text of an array that was read before.
pub fn texts(items: &[u8], count: usize, mut give: impl FnMut(&[u8]) -> Option<()>) -> Option<()> {
    let mut cursor = crate::avro::Cursor::new(items, 0);
    (0..count).try_for_each(|_| give(cursor.sized()?))
}

/// Gives each double of an array that was read before.
pub fn doubles(items: &[u8], count: usize, mut give: impl FnMut(f64) -> Option<()>) -> Option<()> {
    let mut cursor = crate::avro::Cursor::new(items, 0);
    (0..count).try_for_each(|_| give(cursor.double()?))
}

/// Gives each float of an array that was read before.
pub fn floats(items: &[u8], count: usize, mut give: impl FnMut(f64) -> Option<()>) -> Option<()> {
    let mut octets = items.chunks_exact(4).take(count);
    octets.try_for_each(|each| give(f32::from_le_bytes(each.try_into().ok()?).into()))
}

fn write_json(out: &mut Vec<u8>, rule: &Rule, event: &Event, slot: Slot) -> Option<()> {
    match slot {
        Slot::Null => out.extend_from_slice(b"null"),
        Slot::Double(number) => json::write_double(out, number),
        Slot::Long(micros) if matches!(rule, Rule::Moment) => json::write_moment(out, micros),
        Slot::Symbol(place) => match rule {
            Rule::Symbol(names) => json::write_string(out, names[place].as_bytes()),
            _ => return None,
        },
        Slot::Text { begin, end } if matches!(rule, Rule::Json(..)) => {
            out.extend_from_slice(&event.value[begin..end]);
        }
        Slot::Text { begin, end } => json::write_string(out, &event.value[begin..end]),
        Slot::Items { begin, count } => {
            let items = &event.value[begin..];
            let mut before = b'[';
            match rule {
                Rule::Texts(..) => texts(items, count, |text| {
                    out.push(std::mem::replace(&mut before, b','));
                    json::write_string(out, text);
                    Some(())
                })?,
                Rule::Doubles(_) => doubles(items, count, |number| {
                    out.push(std::mem::replace(&mut before, b','));
                    json::write_double(out, number);
                    Some(())
                })?,
                _ => return None,
            }
            if count == 0 {
                out.push(b'[');
            }
            out.push(b']');
        }
        Slot::Uuid(_) | Slot::Long(_) => return None,
    }
    Some(())
}
