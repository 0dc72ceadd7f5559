//! Reads a whole record: its header, its fields, and what they have to do with each other.

use std::collections::HashMap;
use std::sync::Arc;

use sha1::{Digest, Sha1};

use crate::avro::{Cursor, MOST_SKIPPED, Skipped};
use crate::rules::{Rule, Slot, UUID_CHARACTERS, uuid_text};

const MAGIC: u8 = 0;
pub const HEADER: usize = 5;

/// A field that is known.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub rule: Rule,
    pub nullable: bool,
}

/// What to do with the next field of a writer: which of the known ones it is, or what to pass over.
#[derive(Clone, Debug)]
pub enum Step {
    Known(usize),
    Skip(Skipped),
}

/// The places of those fields that are compared with each other.
#[derive(Clone, Copy)]
pub struct Roles {
    tenant: usize,
    namespace: usize,
    pub memory_id: usize,
    key: usize,
    coordinate: usize,
    embedding: usize,
    embedding_model: usize,
    expected_version: usize,
}

/// What is known of records, and of the schemas that they were written with.
#[derive(Clone)]
pub struct Reader {
    pub fields: Arc<Vec<Field>>,
    pub roles: Roles,
    identity: Sha1,
    writers: HashMap<u32, Vec<Step>>,
}

impl Reader {
    /// Returns a reader for these fields, which no schema is known to have yet.
    ///
    /// What is wrong with them comes in words.
    pub fn new(fields: Vec<Field>, identity: &[u8]) -> Result<Self, String> {
        let place = |name: &str| {
            let found = fields.iter().position(|field| field.name == name);
            found.ok_or_else(|| format!("there is no field {name}"))
        };
        let roles = Roles {
            tenant: place("tenant")?,
            namespace: place("namespace")?,
            memory_id: place("memory_id")?,
            key: place("key")?,
            coordinate: place("coordinate")?,
            embedding: place("embedding")?,
            embedding_model: place("embedding_model")?,
            expected_version: place("expected_version")?,
        };
        let identity = Sha1::new_with_prefix(identity);
        Ok(Self { fields: Arc::new(fields), roles, identity, writers: HashMap::new() })
    }

    /// Returns the same reader for records of these schemas.
    ///
    /// What is wrong with them comes in words.
    pub fn for_writers(&self, writers: HashMap<u32, Vec<Step>>) -> Result<Self, String> {
        for steps in writers.values() {
            require_whole(&self.fields, steps)?;
        }
        Ok(Self { writers, ..self.clone() })
    }

    /// Appends the fields of a record, or says that the reference has to look at it.
    pub fn read(&self, value: &[u8], key: &[u8], slots: &mut Vec<Slot>) -> Option<()> {
        let begin = slots.len();
        let read = self.read_fields(value, slots).and_then(|()| self.agree(value, key, &slots[begin..]));
        if read.is_none() {
            slots.truncate(begin);
        }
        read
    }

    /// Completes a value that was just written, and returns its key, or says that the reference has to look at it.
    ///
    /// The id at this place is that of the memory; where it is not given, key or coordinate give it.
    pub fn complete(&self, value: &mut [u8], id_at: usize, given: bool) -> Option<Vec<u8>> {
        let mut slots = Vec::with_capacity(self.fields.len());
        self.read_fields(value, &mut slots)?;
        let named = self.named(value, &slots)?;
        let id = value.get_mut(id_at..id_at + UUID_CHARACTERS)?;
        match named {
            Named::By(named) if given => (*id == uuid_text(named)).then_some(())?,
            Named::By(named) => id.copy_from_slice(&uuid_text(named)),
            Named::Freely => given.then_some(())?,
        }
        let id = &value[id_at..id_at + UUID_CHARACTERS];
        Some([text(value, slots[self.roles.tenant]), b"/", id].concat())
    }

    /// Says whether an event is applied only onto a certain version.
    pub fn is_conditional(&self, slots: &[Slot]) -> bool {
        !matches!(slots[self.roles.expected_version], Slot::Null)
    }

    /// Returns what memories are sorted by.
    pub fn order<'a>(&self, value: &'a [u8], slots: &[Slot]) -> (&'a [u8], [u8; 16]) {
        let Slot::Uuid(id) = slots[self.roles.memory_id] else {
            return (b"", [0; 16]);
        };
        (text(value, slots[self.roles.tenant]), id)
    }

    fn read_fields(&self, value: &[u8], slots: &mut Vec<Slot>) -> Option<()> {
        let (magic, id) = value.get(..HEADER)?.split_first()?;
        if *magic != MAGIC {
            return None;
        }
        let steps = self.writers.get(&u32::from_be_bytes(id.try_into().ok()?))?;
        let mut cursor = Cursor::new(value, HEADER);
        let mut left = MOST_SKIPPED;
        let begin = slots.len();
        slots.resize(begin + self.fields.len(), Slot::Null);
        for step in steps {
            match step {
                Step::Skip(skipped) => skipped.pass(&mut cursor, &mut left)?,
                Step::Known(place) => {
                    let field = &self.fields[*place];
                    // A union of null and a type, in this order.
                    let there = !field.nullable
                        || match cursor.long()? {
                            0 => false,
                            1 => true,
                            _ => return None,
                        };
                    if there {
                        slots[begin + place] = field.rule.read(&mut cursor)?;
                    }
                }
            }
        }
        cursor.is_at_end().then_some(())
    }

    fn agree(&self, value: &[u8], key: &[u8], slots: &[Slot]) -> Option<()> {
        let Slot::Uuid(memory_id) = slots[self.roles.memory_id] else {
            return None;
        };
        let tenant = text(value, slots[self.roles.tenant]);
        let (named, id) = key.split_at_checked(tenant.len())?;
        let same_key = named == tenant
            && id
                .split_first()
                .is_some_and(|(slash, id)| *slash == b'/' && crate::rules::uuid(id) == Some(memory_id));
        let agrees = match self.named(value, slots)? {
            Named::Freely => true,
            Named::By(named) => named == memory_id,
        };
        (same_key && agrees).then_some(())
    }

    /// Returns what names a memory, or `None` where fields do not go together.
    fn named(&self, value: &[u8], slots: &[Slot]) -> Option<Named> {
        let roles = &self.roles;
        let is_there = |place: usize| !matches!(slots[place], Slot::Null);
        if is_there(roles.embedding) != is_there(roles.embedding_model) {
            return None;
        }
        let begun = |how: &[u8]| {
            let mut hash = self.identity.clone();
            let (tenant, namespace) = (text(value, slots[roles.tenant]), text(value, slots[roles.namespace]));
            for part in [tenant, b"\x1f", namespace, b"\x1f", how, b"\x1f"] {
                hash.update(part);
            }
            hash
        };
        match (slots[roles.key], slots[roles.coordinate]) {
            (Slot::Null, Slot::Null) => Some(Named::Freely),
            (Slot::Text { begin, end }, Slot::Null) => {
                Some(Named::By(version_5(begun(b"key").chain_update(&value[begin..end]))))
            }
            (Slot::Null, Slot::Items { begin, count }) => {
                let mut hash = begun(b"coordinate");
                for (place, octets) in value[begin..begin + 8 * count].chunks_exact(8).enumerate() {
                    let number = f64::from_le_bytes(octets.try_into().ok()?) + 0.0;
                    if place > 0 {
                        hash.update(b",");
                    }
                    hash.update(format!("{:016x}", number.to_bits()).as_bytes());
                }
                Some(Named::By(version_5(hash)))
            }
            _ => None,
        }
    }
}

/// What names a memory: whoever stores it, or its key or coordinate, which give this id.
enum Named {
    Freely,
    By([u8; 16]),
}

fn text(value: &[u8], slot: Slot) -> &[u8] {
    match slot {
        Slot::Text { begin, end } => &value[begin..end],
        _ => b"",
    }
}

/// Refuses a writer that has a field twice, or lacks one that cannot be null.
fn require_whole(fields: &[Field], steps: &[Step]) -> Result<(), String> {
    let mut told = vec![0; fields.len()];
    for step in steps {
        if let Step::Known(place) = step {
            *told.get_mut(*place).ok_or("a step is about no field")? += 1;
        }
    }
    let wrong = |(field, count): (&Field, i32)| count > 1 || (count == 0 && !field.nullable);
    match fields.iter().zip(told).find(|each| wrong(*each)) {
        Some((field, _)) => Err(format!("a writer has {} not once", field.name)),
        None => Ok(()),
    }
}

fn version_5(hash: Sha1) -> [u8; 16] {
    let digest = hash.finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    id[6] = id[6] & 0x0f | 0x50;
    id[8] = id[8] & 0x3f | 0x80;
    id
}
